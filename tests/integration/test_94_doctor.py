"""Goal: what will bite is said before it does, with its place and the line to add; and what is well is left in peace."""

import os

import pytest

import weir as house

ENV = {"WEIR_MAX_BODY": "16m"}
HANDLERS = {"one.sql": "-- GET /t/one\nSELECT 1 AS one;\n"}

BAD = """events { }
http {
	server {
		listen 127.0.0.1:1;
		client_max_body_size 512k;
		location /api/ {
			fastcgi_param REQUEST_METHOD $request_method;
			fastcgi_param TENANT_ID $http_x_tenant;
			fastcgi_param HTTP_AUTHORIZATION "";
			fastcgi_next_upstream error timeout http_503;
			fastcgi_pass %s;
		}
	}
}
"""


def lines(done):
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def about(found, *words):
    """The findings that say all of the words."""
    return [line for line in found if all(word in line for word in words)]


def test_the_front_that_runs_is_found_and_its_shipped_configuration_is_well(make_weir):
    weir = make_weir(HANDLERS)
    found = lines(weir.command("doctor"))
    assert not about(found, weir.folder) and not about(found, house.ROOT), "running, and nothing of it will bite"
    weir.env["WEIR_MAX_BODY"] = "32m"
    assert about(lines(weir.command("doctor")), "client_max_body_size 33554432;"), "larger than the 16m that it lets in"


def test_each_bad_line_of_nginx_is_told_with_its_place_and_the_line_to_add(weir, tmp_path):
    path = write(tmp_path, "nginx.conf", BAD % weir.listen)
    done = weir.command("doctor", "--nginx", path)
    found = lines(done)
    assert done.returncode == 1, "another tenant's name for the asking is no warning"
    assert about(found, f"{path}:5:", "client_max_body_size 16777216;")
    assert about(found, f"{path}:8:", "another tenant", "$http_x_tenant")
    assert about(found, f"{path}:9:", "Authorization")
    assert len(about(found, f"{path}:10:", "fastcgi_next_upstream error non_idempotent;")) == 2
    assert about(found, f"{path}:11:", "fastcgi_keep_conn on;")
    assert about(found, f"{path}:11:", "fastcgi_param REQUEST_URI $request_uri;")
    assert about(found, f"{path}:11:", "upstream weir {")
    assert not about(found, "REQUEST_METHOD")


def test_what_doctor_says_to_add_makes_it_well(weir, tmp_path):
    with open(os.path.join(house.ROOT, "nginx", "fastcgi_weir.conf")) as f:
        write(tmp_path, "fastcgi_weir.conf", f.read())
    servers = f"server {weir.listen} max_fails=0;" * 3
    text = "events { } http { upstream weir { %s keepalive 64; } client_max_body_size 16777216; server { location / { include fastcgi_weir.conf; fastcgi_pass weir; } } }"
    path = write(tmp_path, "nginx.conf", text % servers)
    assert not about(lines(weir.command("doctor", "--nginx", path)), path)
    path = write(tmp_path, "lone.conf", text % f"server {weir.listen};")
    assert about(lines(weir.command("doctor", "--nginx", path)), "second try")


def test_apache_in_both_forms(weir, tmp_path):
    socket = weir.listen.removeprefix("unix:")
    path = write(tmp_path, "proxy.conf", f'<VirtualHost *:80>\nProxyPass "/" "unix:{socket}|fcgi://weir/"\nLimitRequestBody 1000\n</VirtualHost>\n')
    found = lines(weir.command("doctor", "--apache", path))
    assert about(found, "proxy.conf:2:", "enablereuse=on") and about(found, "proxy.conf:3:", "LimitRequestBody 16777216")
    assert about(found, "CGIPassAuth On")
    path = write(tmp_path, "fcgid.conf", "<Files weir>\nSetHandler fcgid-script\n</Files>\nCGIPassAuth On\n")
    found = lines(weir.command("doctor", "--apache", path))
    assert about(found, "fcgid.conf:2:", "FcgidMaxRequestLen 16777216") and not about(found, "CGIPassAuth")


@pytest.mark.parametrize("text", ["http {", "http { include gone.conf; } }", None])
def test_a_configuration_that_cannot_be_read_is_told(weir, tmp_path, text):
    path = str(tmp_path / "nginx.conf") if text is None else write(tmp_path, "nginx.conf", text)
    assert about(lines(weir.command("doctor", "--nginx", path)), f"{path}: warning: cannot be read")


def test_nobody_who_passes_requests_to_weir_is_told(weir, tmp_path):
    path = write(tmp_path, "nginx.conf", "events { } http { server { location / { return 204; } } }")
    assert about(lines(weir.command("doctor", "--nginx", path)), "WEIR_LISTEN", f"fastcgi_pass {weir.listen};")


def test_a_redis_that_drops_what_it_likes_is_told(make_weir, make_redis):
    redis = make_redis()
    weir = make_weir(HANDLERS, {"REDIS_URL": redis.url, "REDIS_TIMEOUT": "1s"})
    redis.call("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "noeviction")
    assert not about(lines(weir.command("doctor")), "REDIS_URL")
    redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    found = about(lines(weir.command("doctor")), "REDIS_URL")
    assert len(found) == 1 and "allkeys-lru" in found[0] and "maxmemory-policy noeviction" in found[0]
    redis.stop()
    assert about(lines(weir.command("doctor")), "REDIS_URL", "does not answer")


def test_a_pool_that_postgresql_does_not_let_in_is_told(make_weir, postgres):
    weir = make_weir(HANDLERS, {"DB_READ_POOL_MAX": 5, "DB_WRITE_POOL_MAX": 5}, database=postgres.database())
    assert not about(lines(weir.command("doctor")), "DB_WRITE_POOL_MAX")
    weir.env["DB_READ_POOL_MAX"] = "9000"
    assert about(lines(weir.command("doctor")), "DB_WRITE_POOL_MAX", "max_connections = 9015")


def test_a_bad_setting_is_no_finding_but_a_fault(weir):
    done = weir.command("doctor", env={"WEIR_THREADS": "none"})
    assert done.returncode == 78 and "WEIR_THREADS" in done.stderr
