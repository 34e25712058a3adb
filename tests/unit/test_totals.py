"""What was counted outlives the master, and a file that is no use stops nothing."""

from richmond.supervisor.totals import Totals, TotalsFile

SOME = Totals({"received": 3}, {"EchoWorker": {"answered": 2}})


def test_totals_are_read_as_they_were_saved(tmp_path):
    TotalsFile(tmp_path / "totals.json").save(SOME)
    assert TotalsFile(tmp_path / "totals.json").load() == SOME


def test_nothing_is_written_while_nothing_changes(tmp_path):
    path = tmp_path / "totals.json"
    file = TotalsFile(path)
    assert file.load() == Totals()
    file.save(Totals())
    assert not path.exists()
    file.save(SOME)
    path.unlink()
    file.save(SOME)
    assert not path.exists()


def test_a_damaged_file_is_said_and_replaced(tmp_path, caplog):
    path = tmp_path / "totals.json"
    path.write_text('{"broker": {"received": "th')
    file = TotalsFile(path)
    assert file.load() == Totals()
    assert str(path) in caplog.text
    file.save(SOME)
    assert TotalsFile(path).load() == SOME


def test_a_directory_that_cannot_be_written_is_said_once(tmp_path, caplog):
    file = TotalsFile(tmp_path / "missing" / "totals.json")
    file.save(SOME)
    file.save(Totals({"received": 4}))
    assert caplog.text.count("not kept") == 1
