/*
 * The exporter of metrics: the periodic reader of OpenTelemetry's specification, over what /metrics tells.
 *
 * Never two exports at once, for there is one thread; never two of one host, for there is a lock.
 */
#include "service/metrics_exporter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/wake.h"
#include "service/exporter.h"
#include "service/otel_settings.h"
#include "service/otlp_sender.h"
#include "telemetry/otlp.h"

enum { REQUEST_BYTES_MAX = 8 << 20, LAST_MS = 1000, STOP_MS = 2000 };

#define LOCK_NAME "metrics.lock"

struct metrics_exporter {
	struct metrics_exporter_options o;
	struct otlp_sender *sender;
	struct strbuf resource, numbers, request;
	pthread_t thread;
	bool runs;
	_Atomic uint32_t closing, hard_stop;
	int lock_fd; /* the thread's; -1: another process sends them */
};

static void
export_all(struct metrics_exporter *m, int64_t timeout_ms)
{
	const struct otlp_stop stop = { .retries = &m->closing, .all = &m->hard_stop };
	int64_t rejected;

	m->numbers.len = m->request.len = 0;
	m->numbers.failed = m->request.failed = false;
	m->o.write(m->o.ctx, &m->numbers);
	otlp_metrics_request(&m->request, strbuf_slice(&m->resource), strbuf_slice(&m->numbers));
	if (!m->numbers.failed && !m->request.failed) /* what is lost is said, and told next time */
		(void)otlp_sender_send(m->sender, strbuf_slice(&m->request),
		    clock_mono_ms() + timeout_ms, &stop, &rejected);
}

static bool
is_ours(struct metrics_exporter *m)
{
	return m->lock_fd != -1 ||
	       lock_file(m->o.state_dir_fd, LOCK_NAME, LOCK_EXCLUSIVE, 0, &m->lock_fd) == ERR_OK;
}

static void *
run(void *arg)
{
	struct metrics_exporter *m = arg;
	const struct otel_settings *s = m->o.settings;
	int64_t due_ms = clock_mono_ms() + s->metric_interval_ms;

	(void)prctl(PR_SET_NAME, "weir-metrics"); /* for who looks at threads */
	while (atomic_load(&m->closing) == 0) {
		const int64_t now_ms = clock_mono_ms();

		if (now_ms < due_ms) {
			wake_wait(&m->closing, 0, due_ms - now_ms);
			continue;
		}
		due_ms = now_ms + s->metric_interval_ms;
		if (is_ours(m))
			export_all(m, s->metrics.timeout_ms);
	}
	if (is_ours(m))
		export_all(m, LAST_MS);
	lock_file_release(&m->lock_fd);
	return NULL;
}

enum err
metrics_exporter_open(const struct metrics_exporter_options *o, struct metrics_exporter **out)
{
	struct metrics_exporter *m;
	enum err rc;

	*out = NULL;
	if (!o->settings->metrics.on)
		return ERR_OK;
	m = calloc(1, sizeof *m);
	if (m == NULL)
		return ERR_NOMEM;
	m->o = *o;
	m->lock_fd = -1;
	m->resource = m->numbers = m->request = STRBUF_INIT(REQUEST_BYTES_MAX);
	exporter_resource(o->settings, "host", &m->resource);
	rc = otlp_sender_open(&o->settings->metrics, "metrics", &m->sender);
	if (rc == ERR_OK && !thread_start(0, run, m, &m->thread))
		rc = ERR_NOMEM;
	m->runs = rc == ERR_OK;
	if (rc == ERR_OK)
		*out = m;
	else
		metrics_exporter_close(&m);
	return rc;
}

void
metrics_exporter_close(struct metrics_exporter **mp)
{
	struct metrics_exporter *m = *mp;

	if (m == NULL)
		return;
	*mp = NULL;
	if (m->runs)
		otlp_stop_thread(m->thread, &m->closing, &m->hard_stop, STOP_MS);
	otlp_sender_close(&m->sender);
	strbuf_free(&m->resource);
	strbuf_free(&m->numbers);
	strbuf_free(&m->request);
	free(m);
}
