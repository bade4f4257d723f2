"""The content root of the sample channel that ships with the program (docs/formats/release.md).

It is what the sample is trusted by: it never expires, and the keys that signed it were thrown away.
`scripts/make-sample` makes the channel anew and prints this line.
"""

from ptmtorrent.model.ids import ContentRoot

SAMPLE_CONTENT_ROOT = ContentRoot("c0dea0d3e6d556372ec0c1ccc5b23a2220eb0a0ffae9b8062df5c3495eb82d17")
