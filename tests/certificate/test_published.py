"""The page says what the records of certificates say."""

from __future__ import annotations

from pathlib import Path

from benchmarks import certificates, proofs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "certificates.md"


def test_the_page_has_the_table_of_the_records() -> None:
    records = certificates.of_present_form(certificates.RECORDS)
    text = PAGE.read_text(encoding="utf-8").partition("<!-- certificates -->\n")[2].partition("<!-- end certificates -->")[0]
    assert text.strip() == certificates.table(records, proofs.read(proofs.RECORDS), 0.001).strip()


def test_no_recorded_bound_exceeds_the_best_value_known() -> None:
    """Bounds of proofs and of certificates are independent of each other, and so are the mappings found with them."""
    values = {(r["accelerator"], r["objective"], proofs.shape(r)): r["best"] for r in proofs.read(proofs.RECORDS)}
    for record in proofs.read(certificates.RECORDS):
        key = record["accelerator"], record["objective"], proofs.shape(record)
        if "bound" in record and key in values:
            assert record["bound"] <= values[key] * (1 + 1e-9), record
