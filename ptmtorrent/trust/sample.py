"""The content root of the sample channel that ships with the program (docs/formats/release.md).

It is what the sample is trusted by: it never expires, and the keys that signed it were thrown away.
`scripts/make-sample` makes the channel anew and prints this line.
"""

from ptmtorrent.model.ids import ContentRoot

SAMPLE_CONTENT_ROOT = ContentRoot("6bc53f66b0a22af296786b8e2650ed6db59c6b39525e57a059a3ca28cbc95641")
