"""The name and the content root of the sample channel that ships with the program (docs/formats/release.md).

The sample is verified by it: it never expires, and the keys that signed the sample were deleted.
`scripts/make-sample` creates the channel again and prints the content root.
"""

from ptmtorrent.model.ids import ContentRoot, ReleaseName

SAMPLE_RELEASE = ReleaseName("sample")
SAMPLE_CONTENT_ROOT = ContentRoot("3ed239d8f797d8b247422647ffc5e08a86f40b449d4c36b462b5e8ea08b7651b")
