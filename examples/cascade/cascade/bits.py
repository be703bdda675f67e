"""Bits of the parts of a cascade, and sums that leave out a part of the bits of the coarse parts."""

from collections.abc import Sequence
from pathlib import Path

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import format_number
from diffenc_jax.runs.stored import StoredRun

TERMS = ("reconstruction", "latent", "diffusion")


def bits_table(runs: Sequence[Path]) -> Table:
    """Bits/dim of the whole image by part and term, and sums, by the last record of each run.

    The runs are all parts of a cascade. The bound of the cascade is the sum of all terms of all parts. 'coarse not
    described' is the sum without the reconstruction terms of the parts on which others are conditioned: it describes
    z_0, and not the integers that the details are given. 'as released' also leaves out three quarters of the diffusion
    terms of these parts, as in lihenryhfl/pcdm@b43cfa1.
    """
    records = [StoredRun(run).last_record()[1] for run in runs]
    dims, rows, terms = sum(record["dataset"]["dims"] for record in records), [], []
    for run, record in zip(runs, records, strict=True):
        share = record["dataset"]["dims"] / dims
        terms.append([share * record["bpd"][term] for term in TERMS])
        rows.append([run.name, *map(format_number, (*terms[-1], sum(terms[-1])))])
    totals = [sum(column) for column in zip(*terms, strict=True)]
    unpaid = sum(part[0] for part in terms[:-1])
    scaled = 0.75 * sum(part[2] for part in terms[:-1])
    rows.append(["sum", *map(format_number, (*totals, sum(totals)))])
    rows.append(["coarse not described", "", "", "", format_number(sum(totals) - unpaid)])
    rows.append(["as released", "", "", "", format_number(sum(totals) - unpaid - scaled)])
    return Table(["part", *TERMS, "total"], rows, "Bits/dim of the whole image", "bits/dim")
