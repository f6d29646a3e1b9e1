"""Goal: under a real systemd the units do what they say: the package's weir starts, reloads, is upgraded, is started by its
socket, is restarted when it hangs, and stops.

systemd is the first process of a container that systemd-nspawn makes of a Debian 12.  Nobody can look into it from outside, so a
script in it does what an administrator would do, and leaves what it saw in files.
"""

import os
import re
import shutil
import subprocess

import pytest

import chroot
import deb
import processes

# Without kept connections: a worker that leaves answers once more on each with the files that it has.
SITE = """
upstream weir {
	server unix:/run/weir/weir.sock max_fails=0;
	server unix:/run/weir/weir.sock max_fails=0;
	server unix:/run/weir/weir.sock max_fails=0;
}
server {
	listen 127.0.0.1:%(port)d;
	location /api/ {
		include /usr/share/weir/nginx/fastcgi_weir.conf;
		fastcgi_pass weir;
	}
}
"""

PROBE_UNIT = """
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/probe
[Install]
WantedBy=default.target
"""

# `saw NAME COMMAND...` keeps what the command prints.
PROBE = r"""
saw() { name=$1; shift; "$@" > "/root/saw/$name" 2>&1; echo "rc $?" >> "/root/saw/$name"; }
get() {
	exec 3<>/dev/tcp/127.0.0.1/%(port)d
	printf 'GET %%s HTTP/1.0\r\nHost: x\r\n\r\n' "$1" >&3
	cat <&3
}
main() { systemctl show --property MainPID --value weir; }
until_true() { for i in $(seq 200); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done; return 1; }
logged() { [ "$(grep -c "\"event\":\"$1\"" /var/log/weir/weir.log)" -ge "$2" ]; }
alive() { systemctl is-active --quiet weir && [ "$(main)" != "$1" ] && [ "$(main)" != 0 ]; }

mkdir -p /root/saw
until_true systemctl is-active weir
saw started systemctl show --property ActiveState,StatusText,NRestarts weir
saw sockets stat -c '%%n %%U %%G %%a' /run/weir /run/weir/weir.sock /run/weir/admin.sock
saw restrictions grep -E 'Seccomp:|NoNewPrivs|CapBnd|Uid' "/proc/$(main)/status"
saw first get /api/v1/hello/first

first=$(main)
sed -i 's/Hello, /Good day, /' /etc/weir/handlers/hello.sql
saw reload systemctl reload weir
saw reloaded until_true logged reloaded 1
saw second get /api/v1/hello/second
echo 'nonsense' > /etc/weir/handlers/wrong.sql
systemctl reload weir
saw refused until_true logged reload_refused 1
rm /etc/weir/handlers/wrong.sql
saw third get /api/v1/hello/third

saw upgrade dpkg -i /root/newer.deb
saw upgraded until_true logged taken_over 1
saw same_process [ "$first" = "$(main)" ]
saw new_binary [ "/proc/$first/exe" -ef /usr/bin/weir ]
saw fourth get /api/v1/hello/fourth

printf '[Service]\nWatchdogSec=2s\n' > /etc/systemd/system/weir.service.d/quick.conf
systemctl daemon-reload
systemctl restart weir
hung=$(main)
kill -STOP "$hung"
saw watchdog until_true alive "$hung"
saw fifth get /api/v1/hello/fifth

systemctl stop weir
saw stopped systemctl show --property ActiveState,Result weir
saw left sh -c 'for p in /proc/[0-9]*; do cat $p/comm; done | grep -x weir'
systemctl start weir.socket
saw listening systemctl show --property ActiveState weir
saw activated get /api/v1/hello/activated
saw given grep -h -o '"event":"serving".*' /var/log/weir/weir.log
systemctl stop weir
saw outlived stat -c '%%n %%G %%a' /run/weir/weir.sock /run/weir/admin.sock
journalctl --no-pager --unit weir > /root/saw/journal
systemctl --no-block poweroff
"""


@pytest.fixture(scope="module")
def saw(tmp_path_factory):
    """What the script has seen: {name: text}, each ending with the exit code."""
    folder = str(tmp_path_factory.mktemp("systemd"))
    port = processes.free_port()
    with chroot.copy_of("bookworm") as system:
        system.run("apt-get", "update")
        system.run("apt-get", "install", "-y", "--no-install-recommends", "systemd", "systemd-sysv", "nginx-light")
        deb.install(system, deb.package())
        shutil.copy(deb.make_newer(deb.package(), folder), system.path("/root/newer.deb"))
        system.run("cp", "/usr/share/weir/handlers/example/hello.sql", "/etc/weir/handlers/")
        for path, text in {
            "/etc/nginx/sites-enabled/default": SITE,
            "/etc/systemd/system/probe.service": PROBE_UNIT,
            "/root/probe": PROBE,
            "/etc/systemd/system/weir.service.d/none.conf": "",
        }.items():
            os.makedirs(os.path.dirname(system.path(path)), exist_ok=True)
            if os.path.islink(system.path(path)):
                os.unlink(system.path(path))
            with open(system.path(path), "w") as f:
                f.write(text % {"port": port} if "%(port)" in text else text)
        os.remove(system.path("/usr/sbin/policy-rc.d"))
        system.run("systemctl", "enable", "probe.service")
        boot = subprocess.run(
            ["systemd-nspawn", "--directory", system.folder, "--boot", "--register=no", "--keep-unit", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=300,
        )
        seen = system.path("/root/saw")
        assert os.path.exists(os.path.join(seen, "journal")), boot.stdout[-4000:]
        yield {name: open(os.path.join(seen, name)).read() for name in os.listdir(seen)}


def is_good(text):
    return text.endswith("rc 0\n")


def greeting(text):
    return re.search(r'\{"greeting":"(.*)"\}', text).group(1)


def test_it_is_ready_when_it_says_so(saw):
    assert "ActiveState=active" in saw["started"] and re.search(r"StatusText=\d+ worker", saw["started"])
    assert "NRestarts=0" in saw["started"]
    assert greeting(saw["first"]) == "Hello, first!"


def test_the_web_servers_group_reaches_the_sockets(saw):
    assert saw["sockets"].splitlines()[:3] == [
        "/run/weir weir weir 755",
        "/run/weir/weir.sock weir www-data 660",
        "/run/weir/admin.sock weir www-data 660",
    ]


def test_it_has_no_right_that_it_does_not_need(saw):
    assert re.search(r"Seccomp:\s2", saw["restrictions"]) and re.search(r"NoNewPrivs:\s1", saw["restrictions"])
    assert re.search(r"CapBnd:\s0+\n", saw["restrictions"]) and not re.search(r"Uid:\s0", saw["restrictions"])


def test_a_reload_brings_new_endpoint_files_and_refuses_wrong_ones(saw):
    assert is_good(saw["reload"]) and is_good(saw["reloaded"])
    assert greeting(saw["second"]) == "Good day, second!"
    assert is_good(saw["refused"])
    assert greeting(saw["third"]) == "Good day, third!"


def test_an_upgrade_of_the_package_goes_over_to_the_new_binary_in_the_same_process(saw):
    assert is_good(saw["upgrade"]) and is_good(saw["upgraded"]), saw["upgrade"]
    assert is_good(saw["same_process"]) and is_good(saw["new_binary"])
    assert greeting(saw["fourth"]) == "Good day, fourth!"


def test_a_weir_that_hangs_is_restarted_by_the_watchdog(saw):
    assert is_good(saw["watchdog"]) and greeting(saw["fifth"]) == "Good day, fifth!"
    assert "Watchdog timeout" in saw["journal"]


def test_a_stop_leaves_no_process(saw):
    assert "ActiveState=inactive" in saw["stopped"] and "Result=success" in saw["stopped"]
    assert saw["left"] == "rc 1\n"


def test_the_socket_unit_starts_it_at_the_first_request_and_outlives_it(saw):
    assert "ActiveState=inactive" in saw["listening"]
    assert greeting(saw["activated"]) == "Good day, activated!"
    assert saw["outlived"].splitlines()[:2] == ["/run/weir/weir.sock www-data 660", "/run/weir/admin.sock www-data 660"]
