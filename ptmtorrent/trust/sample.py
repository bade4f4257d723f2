"""The name and the content root of the sample channel that ships with the program (docs/formats/release.md).

The sample is verified by it: it never expires, and the keys that signed the sample were deleted.
`scripts/make-sample` creates the channel again and prints the content root.
"""

from ptmtorrent.model.ids import ContentRoot, ReleaseName

SAMPLE_RELEASE = ReleaseName("sample")
SAMPLE_CONTENT_ROOT = ContentRoot("c4f9d2de76e5d0b6eebf5ed0d866aaa78ddb7b53ea0cd41f9d8cfd4d20d63f13")
