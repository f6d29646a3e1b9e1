-- What wrk sends, and one line of JSON at its end.  Arguments after `--`:
--
--   get                   GET of the URL
--   conditional ETAG      the same with If-None-Match
--   write PREFIX          POST with a new Idempotency-Key each time

local threads = {}

function setup(thread)
	thread:set("number", #threads)
	table.insert(threads, thread)
end

function init(args)
	kind, argument, count = args[1], args[2], 0
	wrk.headers["Host"] = "localhost"
	if kind == "conditional" then
		wrk.headers["If-None-Match"] = argument
	end
	if kind == "write" then
		wrk.method = "POST"
		wrk.body = '{"text":"a line of about a hundred bytes, such as a small event has it, and a little more"}'
		wrk.headers["Content-Type"] = "application/json"
	end
	plain = wrk.format()
end

function request()
	if kind ~= "write" then
		return plain
	end
	count = count + 1
	wrk.headers["Idempotency-Key"] = argument .. "-" .. number .. "-" .. count
	return wrk.format()
end

function done(summary, latency)
	local e = summary.errors
	io.write(string.format(
		'{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"refused":%d,"broken":%d}\n',
		summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
		e.status, e.connect + e.read + e.write + e.timeout))
end
