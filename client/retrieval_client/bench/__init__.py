"""What fetching from somebody is like, measured: any provider of this protocol, and any trustless HTTP gateway, by the same definitions.

``metrics`` defines every figure, for this verb and for ``benchmarks/`` alike. ``provider`` and ``gateway`` are the two doors,
``rounds`` measures through either, ``report`` shows the outcome. One rule: nothing counts that was not verified here, block by block,
and what was verified is dropped unless somebody asked to keep it, so that it is the other side that is measured and not our disk.
"""
