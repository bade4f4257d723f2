"""Licence names of hubs, their SPDX expressions, and whether redistribution is allowed: data only.

One rule per line: the names that hubs use (lower case, separated by commas), then the SPDX expression, or `-` if SPDX
has none. The table decides the class. Sources: SPDX licence list 3.27; "Licenses" in the documentation of Hugging Face.
A family name without a version (`gpl`, `cc`) has no SPDX expression; its class is that of its strictest version.
"""

OPEN = """
apache-2.0, apache-2, apache2|Apache-2.0
mit|MIT
mit-0|MIT-0
bsd|-
bsd-2-clause|BSD-2-Clause
bsd-3-clause|BSD-3-Clause
bsd-3-clause-clear|BSD-3-Clause-Clear
isc|ISC
zlib|Zlib
ncsa|NCSA
bsl-1.0|BSL-1.0
unlicense|Unlicense
wtfpl|WTFPL
cc0-1.0, cc0|CC0-1.0
pddl|PDDL-1.0
cc-by-2.0|CC-BY-2.0
cc-by-2.5|CC-BY-2.5
cc-by-3.0|CC-BY-3.0
cc-by-4.0|CC-BY-4.0
cc-by-sa-3.0|CC-BY-SA-3.0
cc-by-sa-4.0|CC-BY-SA-4.0
odc-by|ODC-By-1.0
odbl|ODbL-1.0
cdla-permissive-1.0|CDLA-Permissive-1.0
cdla-permissive-2.0|CDLA-Permissive-2.0
cdla-sharing-1.0|CDLA-Sharing-1.0
gpl|-
gpl-2.0|GPL-2.0-only
gpl-3.0|GPL-3.0-only
lgpl|-
lgpl-2.1|LGPL-2.1-only
lgpl-3.0|LGPL-3.0-only
lgpl-lr|LGPLLR
agpl-3.0|AGPL-3.0-only
mpl-2.0|MPL-2.0
epl-1.0|EPL-1.0
epl-2.0|EPL-2.0
eupl-1.1|EUPL-1.1
eupl-1.2|EUPL-1.2
ecl-2.0|ECL-2.0
artistic-2.0|Artistic-2.0
postgresql|PostgreSQL
ofl-1.1|OFL-1.1
gfdl|-
afl-3.0|AFL-3.0
academic free license v3.0|AFL-3.0
lppl-1.3c|LPPL-1.3c
osl-3.0|OSL-3.0
ms-pl|MS-PL
"""
"""Licences that allow redistribution of unchanged copies."""

RESTRICTED = """
cc-by-nc-2.0|CC-BY-NC-2.0
cc-by-nc-3.0|CC-BY-NC-3.0
cc-by-nc-4.0|CC-BY-NC-4.0
cc-by-nd-4.0|CC-BY-ND-4.0
cc-by-nc-nd-3.0|CC-BY-NC-ND-3.0
cc-by-nc-nd-4.0|CC-BY-NC-ND-4.0
cc-by-nc-sa-2.0|CC-BY-NC-SA-2.0
cc-by-nc-sa-3.0|CC-BY-NC-SA-3.0
cc-by-nc-sa-4.0|CC-BY-NC-SA-4.0
cc|-
openrail|-
openrail++|-
creativeml-openrail-m|-
bigscience-openrail-m|-
bigscience-bloom-rail-1.0|-
bigcode-openrail-m|-
llama2|-
llama3|-
llama3.1|-
llama3.2|-
llama3.3|-
gemma|-
deepfloyd-if-license|-
c-uda|C-UDA-1.0
fair-noncommercial-research-license|-
"""
"""Licences that restrict use, purpose or recipients, so that a public copy needs a decision."""

UNKNOWN = """
other|-
unknown|-
custom|-
???|-
"""
"""Names that state no terms. A name that is in none of the tables is `unknown` too."""
