import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from richmond import config
from richmond.errors import ConfigError
from richmond.settings import WorkerSettings

SHIPPED = Path(__file__).parents[2] / "etc" / "richmond.ini"
ECHO = "[worker:EchoWorker]\n"


@pytest.fixture
def ini(tmp_path):
    """Writes an ini and loads it."""

    def load(text, environ=None, name="richmond.ini"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.load(path, environ or {})

    return load


@pytest.fixture
def problems(ini, tmp_path):
    """Loads a broken ini and returns what is wrong, without the file's name, which each line begins with."""

    def load(text, environ=None):
        with pytest.raises(ConfigError) as raised:
            ini(text, environ)
        prefix = str(tmp_path / "richmond.ini")
        assert all(problem.startswith(prefix) for problem in raised.value.problems)
        return [problem.removeprefix(prefix).lstrip(", ") for problem in raised.value.problems]

    return load


# The shipped ini


def test_the_shipped_ini_has_the_echo_worker_by_default_and_foobar_by_its_code():
    shipped = config.load(SHIPPED, {})
    echo, foobar, sms = shipped.workers
    assert (echo.class_path, echo.codes, echo.workers, echo.min, echo.max) == (
        "richmond.workers.ussd.EchoWorker", (), 2, 1, 8,
    )  # fmt: skip
    assert (echo.queue, echo.routing_key) == ("richmond.receive", "ssmi.receive")
    assert (foobar.class_path, foobar.codes) == ("richmond.workers.example.FooBarWorker", ("*120*666#",))
    assert (foobar.queue, foobar.routing_key) == ("richmond.receive.FooBarWorker", "ssmi.receive.FooBarWorker")
    assert (sms.class_path, sms.sms) == ("richmond.workers.example.SMSEchoWorker", True)
    assert shipped.rabbitmq.private
    assert shipped.simulator.enabled


def test_the_simulator_stands_in_for_the_first_account_and_for_those_without_a_host(ini):
    some = ini(
        f"[ssmi]\n[ssmi:shop]\n[ssmi:bank]\nusername = b\npassword = p\n[ssmi:real]\nhost = gw\nusername = u\n{ECHO}"
    )
    assert some.simulated() == {
        "default": ("richmond", "richmond"),
        "shop": ("shop", "richmond"),
        "bank": ("b", "p"),
    }


def test_the_shipped_ini_writes_below_var_beside_etc():
    shipped = config.load(SHIPPED, {})
    var = SHIPPED.parents[1] / "var"
    assert shipped.richmond.directory == var
    assert shipped.richmond.socket == var / "richmond.sock"
    assert shipped.richmond.workers_path == SHIPPED.parents[1] / "workers"


def test_the_defaults_that_the_shipped_ini_shows_are_the_real_ones(tmp_path):
    shown = re.sub(r"^# ([a-z-]+ =.*)$", r"\1", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    # These two are shown empty and may not both be set, so an empty one has to mean "not set".
    assert "password-file =" in shown
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "richmond.ini").write_text(SHIPPED.read_text("utf-8"), "utf-8")
    commented = config.load(etc / "richmond.ini", {})
    (etc / "richmond.ini").write_text(shown, "utf-8")
    assert config.load(etc / "richmond.ini", {}) == commented


def test_the_shipped_ini_shows_every_key():
    shown = {name: set() for name in config.known_keys()}
    section = None
    for line in SHIPPED.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = "worker:NAME" if line.startswith("[worker:") else line.strip("[]")
        elif key := re.fullmatch(r"(?:# )?([a-z-]+) =.*", line):
            shown[section].add(key[1])
    assert shown == {name: set(keys) for name, keys in config.known_keys().items()}


def test_every_attribute_of_the_settings_can_be_set_in_the_ini():
    keys = config.known_keys()
    for section in ("richmond", "ssmi", "amqp", "rabbitmq", "simulator", "otel"):
        attributes = {config.key_of(field.name) for field in fields(getattr(config.load(SHIPPED, {}), section))}
        assert attributes - {"name"} <= set(keys[section])
    derived = {"name", "routing-key", "options"}
    assert {config.key_of(field.name) for field in fields(WorkerSettings)} - derived == set(keys["worker:NAME"])


def test_the_examples_in_the_shipped_ini_are_valid(tmp_path):
    shown = re.sub(r"^#   (\[.*|[a-z-]+ =.*)$", r"\1", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / "second.password").write_text("s\n")
    (tmp_path / "richmond.ini").write_text(
        shown.replace("host =\n", "host = gw\nusername = u\n", 1).replace("username =\n", "", 1)
    )
    loaded = config.load(tmp_path / "richmond.ini", {})
    assert [account.name for account in loaded.accounts] == ["default", "second"]
    assert [worker.name for worker in loaded.workers if worker.keywords] == ["Competition"]


# Values


def test_codes_work_unquoted_as_people_write_them(ini):
    (worker,) = ini(ECHO + "codes = *120*663#, *120*666").workers
    assert worker.codes == ("*120*663#", "*120*666#")


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("se,cret", "se,cret"),
        ("#1 in, 100%", "#1 in, 100%"),
        ("a # b ; c", "a # b ; c"),
        ("'q # q'", "q # q"),
        ('" kept "', " kept "),
        ("'it's'", "'it's'"),
        ("it's", "it's"),
        ("'", "'"),
        ('"a" and "b"', '"a" and "b"'),
        ("'''x", "'''x"),
        ("a=b=c", "a=b=c"),
        ("%(HOME)s %s %%", "%(HOME)s %s %%"),
        ("[x]", "[x]"),
        ("päss", "päss"),
        ("", ""),
    ],
)
def test_a_password_is_what_stands_behind_the_equals_sign(ini, written, password):
    assert ini(f"{ECHO}[ssmi]\npassword = {written}\n").ssmi.password == password


@given(
    password=st.text(
        st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\x85\u2028\u2029"), min_size=1
    ).filter(lambda text: text == text.strip() and text[0] not in "'\"" and "%(ENV_" not in text)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_any_unquoted_password_survives(ini, password):
    assert ini(f"[amqp]\npassword={password}\n{ECHO}").amqp.password == password


def test_comments_are_lines_that_begin_with_a_hash_or_a_semicolon(ini):
    loaded = ini("; one = 1\n  # two = 2\n[ssmi]  # the gateway\n;password = x\nport = 5\n" + ECHO)
    assert (loaded.ssmi.port, loaded.ssmi.password) == (5, "")


def test_an_empty_number_is_the_default(ini):
    loaded = ini("[ssmi]\nport =\n[richmond]\nlog-level =\n" + ECHO)
    assert (loaded.ssmi.port, loaded.richmond.log_level) == (50008, "info")


def test_the_environment_is_read_as_it_is(ini):
    loaded = ini(
        "[amqp]\npassword = %(ENV_PW)s\nvhost = /%(ENV_STAGE)s-%(ENV_STAGE)s\n" + ECHO,
        {"PW": "'a, #%(ENV_STAGE)s", "STAGE": "x"},
    )
    assert loaded.amqp.password == "'a, #%(ENV_STAGE)s"
    assert loaded.amqp.vhost == "/x-x"


def test_a_missing_variable_is_named(problems):
    assert problems("[amqp]\n\nvhost = /%(ENV_STAGE)s\n" + ECHO) == [
        "line 3, [amqp] vhost: %(ENV_STAGE)s: the environment has no STAGE; set it, or write the value here"
    ]


def test_a_password_comes_from_a_file_without_its_newline(ini, tmp_path):
    (tmp_path / "pw").write_text("a, #b \n")
    loaded = ini("[ssmi]\npassword-file = pw\n[amqp]\npassword-file = ./pw\n" + ECHO)
    assert (loaded.ssmi.password, loaded.amqp.password) == ("a, #b ", "a, #b ")


def test_a_password_file_that_is_missing_or_doubled_is_refused(problems, tmp_path):
    (tmp_path / "pw").write_text("x")
    text = "[ssmi]\npassword-file = none\n[amqp]\npassword = x\npassword-file = pw\n" + ECHO
    missing, doubled = problems(text)
    assert missing.startswith(f"line 2, [ssmi] password-file: {tmp_path / 'none'} cannot be read: No such file")
    assert doubled.startswith("line 5, [amqp] password-file: is set, and so is password")


def test_relative_paths_start_at_the_ini_wherever_the_process_stands(ini, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    loaded = ini("[richmond]\ndirectory = a/../b\nlog = /x/y.log\npid-file = p\n" + ECHO)
    assert loaded.richmond.directory == tmp_path / "b"
    assert loaded.richmond.log == Path("/x/y.log")
    assert loaded.richmond.pid_file == tmp_path / "p"
    assert loaded.simulator.socket == tmp_path / "b" / "simulator.sock"
    assert loaded.path == tmp_path / "richmond.ini"


def test_the_log_may_be_standard_error(ini):
    assert ini("[richmond]\nlog = stderr\n" + ECHO).richmond.log is None


def test_a_byte_order_mark_and_dos_line_ends_do_not_matter(ini):
    loaded = ini(b"\xef\xbb\xbf[ssmi]\r\npassword = abc\r\n[worker:EchoWorker]\r\n")
    assert loaded.ssmi.password == "abc"


# Workers


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", (1, 1, 1)),
        ("workers = 3", (3, 3, 3)),
        ("min = 2", (2, 2, 2)),
        ("max = 4", (1, 1, 4)),
        ("min = 0\nmax = 4", (1, 0, 4)),
        ("workers = 0", (0, 0, 0)),
        ("max = 0", (0, 0, 0)),
        ("workers = 2\nmin = 1\nmax = 8", (2, 1, 8)),
    ],
)
def test_counts_that_are_left_out_follow_from_the_others(ini, keys, expected):
    (worker,) = ini(f"{ECHO}{keys}\n").workers
    assert (worker.workers, worker.min, worker.max) == expected


def test_a_class_of_the_site_is_named_by_its_dotted_path(ini):
    (worker,) = ini("[worker:shop]\nclass = shop.ShopWorker\n").workers
    assert (worker.name, worker.class_path) == ("shop", "shop.ShopWorker")


def test_environment_and_own_keys_reach_the_class(ini):
    (worker,) = ini(
        f"{ECHO}environment = A=1, B = x=y\ncolour = red, #5\nlimit = 3\n[[options]]\nworksers = 2\nworkers = 9\n"
    ).workers
    assert dict(worker.environment) == {"A": "1", "B": "x=y"}
    assert dict(worker.options) == {"colour": "red, #5", "limit": "3", "worksers": "2", "workers": "9"}
    assert worker.workers == 1


def test_environment_values_with_commas_have_a_section(ini):
    (worker,) = ini(f"{ECHO}[[environment]]\nHOSTS = a, b\n").workers
    assert dict(worker.environment) == {"HOSTS": "a, b"}


def test_a_class_has_the_apology_of_the_gateway_unless_it_has_its_own(ini):
    own, common = ini(f"[ssmi]\napology = Sorry.\n{ECHO}apology =\n[worker:FooBarWorker]\ncodes = *1#\n").workers
    assert (own.apology, common.apology) == ("", "Sorry.")


# Accounts


SECOND = "[ssmi:second]\nhost = gw2\nusername = u2\n"


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ("", ["default"]),
        ("[ssmi]\n", ["default"]),
        (SECOND, ["second"]),
        (f"[ssmi]\n{SECOND}", ["default", "second"]),
        (f"{SECOND}[ssmi:b]\nhost = gw\nusername = u\n[ssmi]\nport = 5\n", ["default", "second", "b"]),
    ],
)
def test_the_unnamed_account_is_first_and_there_is_always_one(ini, sections, names):
    loaded = ini(sections + ECHO)
    assert [account.name for account in loaded.accounts] == names
    assert loaded.ssmi is loaded.accounts[0]


def test_an_account_has_all_keys_and_inherits_none(ini, tmp_path):
    (tmp_path / "pw").write_text("x\n")
    first, second = ini(
        "[ssmi]\nport = 5\nsms-rate = 0.5\nopt-out = yes\nopt-out-keywords = halt, Stop\nopt-in-keywords =\n"
        f"{SECOND}password-file = pw\nussd-rate = 20\nussd-burst = 3\n{ECHO}"
    ).accounts
    assert (first.port, first.sms_rate, first.opt_out, first.opt_out_keywords, first.opt_in_keywords) == (
        5, 0.5, True, ("HALT", "STOP"), (),
    )  # fmt: skip
    assert (second.port, second.sms_rate, second.opt_out, second.password) == (50008, 0.0, False, "x")
    assert (second.ussd_rate, second.ussd_burst, second.sms_burst) == (20.0, 3, 10)
    assert second.opt_out_keywords == ("STOP", "END", "QUIT", "UNSUBSCRIBE")


def test_the_defaults_of_the_values_are_those_of_the_ini(ini):
    loaded = ini(ECHO)
    for values in (loaded.richmond, loaded.accounts[0], loaded.workers[0]):
        for field in fields(values):
            if field.default is not MISSING:
                assert getattr(values, field.name) == field.default, field.name


def test_one_user_name_may_log_in_at_two_gateways_and_as_the_simulators(ini):
    text = "[ssmi]\nhost = gw2\nusername = u2\n{}[ssmi:second]\nhost = gw2\n{}username = u2\n" + ECHO
    assert len(ini(text.format("", "port = 5\n")).accounts) == 2
    simulated = ini(text.format("[simulator]\nenabled = yes\n", ""))
    assert [account.host for account in simulated.accounts] == ["gw2", "gw2"]


def test_an_ini_with_a_wrong_account_still_leads_to_the_socket(tmp_path):
    (tmp_path / "richmond.ini").write_text("[richmond]\nsocket = s\n[ssmi:sms]\nhost = gw\n[ssmi:b]\nport = x\n")
    loaded = config.load_anyhow(tmp_path / "richmond.ini", {})
    assert loaded.richmond.socket == tmp_path / "s"
    assert [account.name for account in loaded.accounts] == ["b"]


# SMS


def test_a_class_for_sms_has_a_queue_of_its_own_and_leaves_the_ussd_to_the_default_class(ini):
    echo, *others = ini(
        f"{ECHO}[worker:a]\nclass = x.A\nshort-codes = 31022, 31033\n[worker:b]\nclass = x.B\nkeywords = win, Gagné\n"
        "[worker:c]\nclass = x.C\nsms = yes\n"
        "[worker:d]\nclass = x.D\ncodes = *120*7*\nkeywords = WIN\nshort-codes = 31022\n"
    ).workers
    assert echo.is_default
    assert (echo.queue, echo.short_codes, echo.keywords, echo.sms) == ("richmond.receive", (), (), False)
    assert [worker.is_default for worker in others] == [False] * 4
    assert [worker.queue for worker in others] == [f"richmond.receive.{name}" for name in "abcd"]
    assert [worker.routing_key for worker in others] == [f"ssmi.receive.{name}" for name in "abcd"]
    assert [worker.sms_claims for worker in others] == [
        (("31022", ""), ("31033", "")), (("", "WIN"), ("", "GAGNÉ")), (), (("31022", "WIN"),),
    ]  # fmt: skip
    assert others[3].codes == ("*120*7*",)


def test_classes_for_different_accounts_may_have_the_same_codes_and_words(ini, problems):
    same = "class = x.A\ncodes = *1#\nkeywords = WIN\nsms = yes\n"
    text = f"[ssmi]\n{SECOND}[worker:a]\n{same}accounts = default\n[worker:b]\n{same}"
    assert [worker.accounts for worker in ini(f"{text}accounts = second\n").workers] == [("default",), ("second",)]
    wrong = [re.search(r"\[worker:b\] (.*?):", problem)[1] for problem in problems(text)]
    assert sorted(wrong) == ["codes", "keywords", "sms"]


def test_long_texts_are_cut_and_long_sms_split_unless_the_class_says_otherwise(ini):
    first, second = ini(
        f"{ECHO}[worker:b]\nclass = x.B\ncodes = *1#\nlong-text = Pages\nsms-long = refuse\nmore-option = 99\n"
    ).workers
    assert (first.long_text, first.sms_long, first.more_option, first.more_text) == ("cut", "split", "#", "# More")
    assert (second.long_text, second.sms_long, second.more_option, second.more_text) == (
        "pages", "refuse", "99", "99 More",
    )  # fmt: skip


# Private node and simulator


@pytest.mark.parametrize(("private", "host", "expected"), [
    ("auto", "", True), ("auto", "mq", False), ("yes", "mq", True), ("no", "mq", False), ("YES", "", True),
])  # fmt: skip
def test_a_private_node_is_for_those_who_name_no_rabbitmq(ini, private, host, expected):
    loaded = ini(f"[amqp]\nhost = {host}\n[rabbitmq]\nprivate = {private}\n{ECHO}")
    assert loaded.rabbitmq.private is expected


@pytest.mark.parametrize(("enabled", "host", "broker", "expected"), [
    ("auto", "", "yes", True), ("auto", "gw", "yes", False), ("yes", "gw", "yes", True), ("no", "gw", "yes", False),
    ("auto", "", "no", False), ("no", "", "no", False),
])  # fmt: skip
def test_the_simulator_is_for_those_who_name_no_gateway(ini, enabled, host, broker, expected):
    loaded = ini(
        f"[richmond]\nbroker = {broker}\n[ssmi]\nhost = {host}\nusername = u\n[simulator]\nenabled = {enabled}\n{ECHO}"
    )
    assert loaded.simulator.enabled is expected


def test_amqp_over_tls_has_its_own_default_port(ini):
    assert ini(f"[amqp]\ntls = yes\n{ECHO}").amqp.port == 5671
    assert ini(f"[amqp]\ntls = yes\nport = 5672\n{ECHO}").amqp.port == 5672


# What is refused


REFUSED = (Path(__file__).parent / "config" / "refused.cases").read_text("utf-8").split("\n\n")[1:]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.partition("=> ")[2][:60])
def test_what_is_wrong_is_said_with_its_place(problems, case):
    text, _, problem = case.partition("=> ")
    (found,) = problems(text)
    assert found.lstrip(": ").startswith(problem.strip())


def test_no_worker_class_at_all_is_said_with_an_example(problems):
    assert problems("") == [": has no worker class; add e.g. the lines `[worker:EchoWorker]` and `workers = 2`"]


def test_another_encoding_than_utf_8_is_said_with_its_line(problems):
    assert problems(b"[ssmi]\npassword = p\xe4ss\n") == ["line 2: is not UTF-8 here; save the file as UTF-8"]


def test_two_default_classes_are_refused(problems):
    (found,) = problems(ECHO + "[worker:FooBarWorker]\n")
    assert found.startswith("line 2, [worker:FooBarWorker]: has no codes, nor has [worker:EchoWorker]")


def test_a_code_and_a_queue_belong_to_one_class(problems):
    code, queue = problems(
        "[worker:EchoWorker]\ncodes = *1#\nqueue = q\n[worker:FooBarWorker]\ncodes = *2#, *1#\nqueue = q\n"
    )
    assert code.startswith("line 5, [worker:FooBarWorker] codes: *1# belongs to [worker:EchoWorker]")
    assert queue.startswith("line 6, [worker:FooBarWorker] queue: q is that of [worker:EchoWorker]: they would answer")


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_lines(problems):
    found = problems("[ssmi]\nport = x\nprot = 1\noops\n[amqp]\nheartbeat = 0\n[worker:EchoWorker]\nmin = 9\nmax = 1\n")
    assert [re.match(r"line (\d+)", problem)[1] for problem in found] == ["2", "3", "4", "6", "9"]


def test_a_file_of_garbage_gets_an_answer(problems):
    found = problems("\n".join(f"garbage {n}" for n in range(10_000)))
    assert found[-1].startswith("line 21: and more of that kind")
    assert len(found) == 21


def test_a_socket_path_of_107_bytes_is_the_longest(ini, problems):
    longest = "/" + "ä" * 53
    assert ini(f"[richmond]\nsocket = {longest}\n{ECHO}").richmond.socket == Path(longest)
    (found,) = problems(f"[richmond]\nsocket = {longest}x\n{ECHO}")
    assert "108 bytes, and a Unix socket's path at most 107; set [richmond] socket to a shorter path" in found


@pytest.mark.parametrize("name", ["missing.ini", "."])
def test_a_file_that_cannot_be_read_is_said_so(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot be read: .*; name the ini with -c FILE"):
        config.load(tmp_path / name, {})


# The way back


def test_the_effective_settings_are_an_ini_without_secrets(ini, tmp_path):
    loaded = ini(
        "[ssmi]\nhost = gw\nusername = u\npassword = s3cret\n[amqp]\npassword = s3cret\n"
        f"[ssmi:b]\nhost = gw2\nusername = u\npassword = s3cret\nsms-rate = 0.5\nopt-out-keywords =\n"
        f"[simulator]\npassword = s3cret\n{ECHO}codes = *1#, *2#\nkeywords = WIN\nmore-option = 9\nlimit = 5\n"
        "[[environment]]\nDB_PASSWORD = s3cret\nA = b\n"
    )
    text = config.describe(loaded)
    assert "s3cret" not in text
    assert "password = ********" in text
    assert "DB_PASSWORD = ********" in text
    for field in fields(loaded):
        assert f"[{field.name}]" in text or field.name in ("path", "accounts", "workers"), "every section is shown"
    again = ini(text)
    assert again.workers[0].codes == ("*1#", "*2#")
    assert [account.name for account in again.accounts] == ["default", "b"]
    assert config.describe(again) == text


def test_settings_do_not_show_passwords_in_a_traceback(ini):
    assert "s3cret" not in repr(ini(f"[ssmi]\npassword = s3cret\n[amqp]\npassword = s3cret\n{ECHO}"))


def test_sizes_may_have_units(ini):
    sizes = {"1048576": 1 << 20, "300M": 300 << 20, "1.5 GiB": 3 << 29, "2gb": 2 << 30, "0": 0, "64k": 64 << 10}
    for text, size in sizes.items():
        (worker,) = ini(f"{ECHO}max-memory = {text}\nmax-memory-hard = 1T\nrlimit-as = {text}\n").workers
        assert (worker.max_memory, worker.max_memory_hard, worker.rlimit_as) == (size, 1 << 40, size)


def test_what_a_worker_process_may_is_as_the_master_has_it_unless_it_is_said(ini):
    names = ("user", "umask", "nice", "rlimit_nofile", "rlimit_as", "environment_file")
    (worker,) = ini(ECHO).workers
    assert [getattr(worker, name) for name in names] == ["", "", None, None, None, None]
    (worker,) = ini(f"{ECHO}user = nobody\numask = 0027\nnice = -5\nrlimit-nofile = 4096\n").workers
    assert [getattr(worker, name) for name in names[:4]] == ["nobody", "0027", -5, 4096]


def test_an_environment_file_is_read_and_its_values_are_shown_to_nobody(ini, tmp_path, problems):
    (tmp_path / "shop.env").write_text(
        "# secrets\n\nURL=postgres://u:hush@h/db\n ; more\nQUOTED = \"a = 'b' # c\"\nEMPTY=\n"
    )
    loaded = ini(f"{ECHO}environment-file = shop.env\nenvironment = A=1\n")
    file = loaded.workers[0].environment_file
    assert file.variables == {"URL": "postgres://u:hush@h/db", "QUOTED": "a = 'b' # c", "EMPTY": ""}
    assert loaded.workers[0].environment == {"A": "1"}
    assert f"\nenvironment-file = {tmp_path / 'shop.env'}\n" in config.describe(loaded)
    assert "hush" not in config.describe(loaded) + repr(loaded)
    (tmp_path / "shop.env").write_text("GOOD=1\nbad line\n")
    (problem,) = problems(f"{ECHO}environment-file = shop.env\n")
    assert problem.endswith(
        "shop.env cannot be used: its line 2 is not NAME=VALUE; name a file with NAME=VALUE on each line"
    )
    (tmp_path / "shop.env").write_bytes(b"A=\xff\n")
    assert "cannot be used: it is not UTF-8" in problems(f"{ECHO}environment-file = shop.env\n")[0]


def test_another_content_of_the_environment_file_is_another_setting(ini, tmp_path):
    (tmp_path / "shop.env").write_text("A=1\n")
    before = ini(f"{ECHO}environment-file = shop.env\n").workers[0]
    assert ini(f"{ECHO}environment-file = shop.env\n").workers[0] == before
    (tmp_path / "shop.env").write_text("A=2\n")
    assert ini(f"{ECHO}environment-file = shop.env\n").workers[0] != before
