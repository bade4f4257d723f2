"""The name and the content root of the sample channel that ships with the program (docs/formats/release.md).

The sample is verified by it: it never expires, and the keys that signed the sample were deleted.
`scripts/make-sample` creates the channel again and prints the content root.
"""

from ptmtorrent.model.ids import ContentRoot, ReleaseName

SAMPLE_RELEASE = ReleaseName("sample")
SAMPLE_CONTENT_ROOT = ContentRoot("c0dea0d3e6d556372ec0c1ccc5b23a2220eb0a0ffae9b8062df5c3495eb82d17")
