"""Chooses among the forms of wanted objects: the cheapest to move, given what is here.

A delta costs its bytes, and those of its base unless the base is here, or moves anyway; a whole form costs its bytes.
Deltas that share a base are worth it together: a base is brought if the deltas against it save more than it costs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.wanted import NO_BASE, Alternative, ObjectTable


def choose_forms(table: ObjectTable, rows: Numbers, has: Callable[[ObjectId], bool]) -> None:
    """Put the cheapest forms of the objects in `rows`, each listed once, into the columns of `table`.

    `has` returns whether an object is available locally. Objects with one form keep it.
    """
    forms = _forms_of(table, rows)
    if not forms:
        return
    chosen = _choose(table, forms, _free_bases(table, rows, forms, has))
    for form in chosen.values():
        table.put_form(form)


def _forms_of(table: ObjectTable, rows: Numbers) -> dict[int, list[Alternative]]:
    """Return all forms of each object that has several."""
    wanted = set(rows.tolist()) if table.alternatives else set()
    forms: dict[int, list[Alternative]] = {}
    for other in table.alternatives:
        if other.row in wanted:
            forms.setdefault(other.row, [table.form(other.row)]).append(other)
    return forms


def _free_bases(
    table: ObjectTable, rows: Numbers, forms: dict[int, list[Alternative]], has: Callable[[ObjectId], bool]
) -> set[int]:
    """Return the needed bases that cost nothing: those that are here, wanted, or needed by other objects."""
    needed = {form.base for several in forms.values() for form in several} - {NO_BASE}
    wanted = {table.objects.id(row) for row in table.that_are_bases(rows, sorted(needed))}
    fixed = {base for row in rows.tolist() if row not in forms and (base := table.base[row]) != NO_BASE}
    return {base for base in needed if base in fixed or table.bases.id(base) in wanted or has(table.bases.id(base))}


def _choose(table: ObjectTable, forms: dict[int, list[Alternative]], free: set[int]) -> dict[int, Alternative]:
    """Return the form of each object."""
    chosen: dict[int, Alternative] = {}
    for row, several in forms.items():
        usable = [form for form in several if form.base == NO_BASE or form.base in free]
        if not usable:
            usable = [min(several, key=lambda form: (form.length + table.bases.length[form.base], form.offset))]
            free.add(usable[0].base)
        chosen[row] = _cheapest(usable)
    while True:
        gains: dict[int, int] = defaultdict(int)
        for row, several in forms.items():
            for base in {form.base for form in several} - free - {NO_BASE}:
                against = _cheapest(form for form in several if form.base == base)
                gains[base] += max(0, chosen[row].length - against.length)
        best = max(gains, key=lambda base: (gains[base] - table.bases.length[base], -base), default=None)
        if best is None or gains[best] <= table.bases.length[best]:
            return chosen
        free.add(best)
        for row, several in forms.items():
            chosen[row] = _cheapest((chosen[row], *(form for form in several if form.base == best)))


def _cheapest(forms: Iterable[Alternative]) -> Alternative:
    return min(forms, key=lambda form: form.length)
