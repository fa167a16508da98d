"""How a release goes: from a snapshot to the next writes, the new status and when to look again.

``plan`` is the only entrance. Below it: ``situation`` judges what is going on, ``facts`` names
the revisions and objects involved, ``holding``, ``pods``, ``services``, ``routes`` each know one
kind of object, ``cursor`` knows the steps, ``advancing``, ``closing`` and ``resting`` put them in
order. Everything is a pure function of the snapshot.
"""
