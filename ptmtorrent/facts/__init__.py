"""Facts that can be read from a package without running anything: licences, rights and base models.

In come the hub's own words (a licence name, a licence text, tags, a record) or the files of a package; out go an SPDX
expression, the class of rights that decides which packs a package goes to, and the names of likely base models.
`licences` classifies by the table in `licence_rules`, and reads cards (`front_matter`) and licence texts, whose licence
`licence_texts` names; `base_models` orders the candidates for deltas.

Invariant: pure functions, and caution: a licence that is not recognised is never treated as open.
"""
