/*
 * POST, by libcurl's easy interface.
 *
 * Trailers come to the same callback as headers.  Of all that is said there, four values are kept.
 */
#include "client/http_post.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { VALUE_BYTES_MAX = 2048 };

enum kept { RETRY_AFTER, GRPC_STATUS, GRPC_DETAILS, KEPT };

static const char *const kept_names[KEPT] = {
	[RETRY_AFTER] = "retry-after",
	[GRPC_STATUS] = "grpc-status",
	[GRPC_DETAILS] = "grpc-status-details-bin",
};

struct http_post {
	CURL *curl;
	struct curl_slist *headers;
	char *url;
	struct strbuf body;
	struct strbuf kept[KEPT];
	const _Atomic uint32_t *stop;
	char why[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
init_library(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t
take_body(char *bytes, size_t size, size_t count, void *ctx)
{
	struct http_post *p = ctx;

	strbuf_add(&p->body, bytes, size * count);
	return p->body.failed ? 0 : size * count;
}

static size_t
take_header(char *bytes, size_t size, size_t count, void *ctx)
{
	struct http_post *p = ctx;
	struct slice value = { bytes, size * count };
	const struct slice name = slice_cut(&value, ':');

	while (value.len > 0 && strchr("\r\n", value.ptr[value.len - 1]) != NULL)
		value.len--;
	for (size_t i = 0; i < KEPT; i++)
		if (value.ptr != NULL && slice_eq_nocase(name, kept_names[i])) {
			p->kept[i].len = 0;
			strbuf_add_slice(&p->kept[i], slice_trim(value));
		}
	return size * count;
}

/* Not 0 ends the transfer; libcurl asks at least once a second. */
static int
look_at_stop(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct http_post *p = ctx;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return p->stop != NULL && atomic_load(p->stop) != 0;
}

static enum err
set_headers(struct http_post *p, const struct http_post_options *o)
{
	/* Without it libcurl asks before it sends more than 1 MiB, and waits a second for an answer. */
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	for (size_t i = 0; i < o->header_count && list != NULL; i++) {
		struct curl_slist *longer = curl_slist_append(list, o->headers[i]);

		if (longer == NULL)
			curl_slist_free_all(list);
		list = longer;
	}
	p->headers = list;
	if (list == NULL || curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, list) != CURLE_OK)
		return ERR_NOMEM;
	return ERR_OK;
}

/* The first that fails decides. */
static CURLcode
set_how(struct http_post *p, const struct http_post_options *o)
{
	const bool clear = strncmp(o->url, "http://", 7) == 0;
	long version = CURL_HTTP_VERSION_1_1;
	CURLcode rc;

	if (o->version == HTTP_POST_2)
		version = clear ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_2TLS;
	if ((rc = curl_easy_setopt(p->curl, CURLOPT_URL, o->url)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "http,https")) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_HTTP_VERSION, version)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_PROXY, "")) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_POST, 1L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, p->why)) != CURLE_OK)
		return rc;
	/* libcurl 7.88 breaks a connection of HTTP/2 without TLS when it uses it a second time. */
	if (version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE &&
	    (rc = curl_easy_setopt(p->curl, CURLOPT_FORBID_REUSE, 1L)) != CURLE_OK)
		return rc;
	if (o->ca_file != NULL &&
	    (rc = curl_easy_setopt(p->curl, CURLOPT_CAINFO, o->ca_file)) != CURLE_OK)
		return rc;
	if (o->client_cert_file != NULL &&
	    (rc = curl_easy_setopt(p->curl, CURLOPT_SSLCERT, o->client_cert_file)) != CURLE_OK)
		return rc;
	if (o->client_key_file != NULL &&
	    (rc = curl_easy_setopt(p->curl, CURLOPT_SSLKEY, o->client_key_file)) != CURLE_OK)
		return rc;
	return CURLE_OK;
}

static CURLcode
set_callbacks(struct http_post *p)
{
	CURLcode rc;

	if ((rc = curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, take_body)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, p)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_HEADERFUNCTION, take_header)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_HEADERDATA, p)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_XFERINFOFUNCTION, look_at_stop)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_XFERINFODATA, p)) != CURLE_OK ||
	    (rc = curl_easy_setopt(p->curl, CURLOPT_NOPROGRESS, 0L)) != CURLE_OK)
		return rc;
	return CURLE_OK;
}

enum err
http_post_open(const struct http_post_options *o, struct http_post **out)
{
	struct http_post *p = calloc(1, sizeof *p);
	enum err rc = ERR_NOMEM;

	*out = NULL;
	if (p == NULL)
		return rc;
	(void)pthread_once(&once, init_library);
	p->body = STRBUF_INIT(o->reply_bytes_max);
	for (size_t i = 0; i < KEPT; i++)
		p->kept[i] = STRBUF_INIT(VALUE_BYTES_MAX);
	p->curl = curl_easy_init();
	p->url = strdup(o->url);
	if (p->curl != NULL && p->url != NULL)
		rc = set_headers(p, o);
	if (rc == ERR_OK && (set_how(p, o) != CURLE_OK || set_callbacks(p) != CURLE_OK))
		rc = ERR_INVALID;
	if (rc == ERR_OK)
		*out = p;
	else
		http_post_close(&p);
	return rc;
}

void
http_post_close(struct http_post **pp)
{
	struct http_post *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	curl_easy_cleanup(p->curl);
	curl_slist_free_all(p->headers);
	strbuf_free(&p->body);
	for (size_t i = 0; i < KEPT; i++)
		strbuf_free(&p->kept[i]);
	free(p->url);
	free(p);
}

static void
forget_reply(struct http_post *p)
{
	p->body.len = 0;
	p->body.failed = false;
	for (size_t i = 0; i < KEPT; i++) {
		p->kept[i].len = 0;
		p->kept[i].failed = false;
	}
	*p->why = '\0';
}

static enum err
failed(struct http_post *p, CURLcode code)
{
	static struct log_gate gate;
	uint64_t suppressed;
	const bool stopped = code == CURLE_ABORTED_BY_CALLBACK;

	if (!stopped && log_gate_open(&gate, clock_mono_ms(), &suppressed))
		log_warn("http_post_failed", LOG_STR("url", p->url),
		    LOG_STR("reason", *p->why == '\0' ? curl_easy_strerror(code) : p->why),
		    LOG_INT("suppressed", suppressed));
	if (code == CURLE_OPERATION_TIMEDOUT)
		return ERR_TIMEOUT;
	if (code == CURLE_OUT_OF_MEMORY)
		return ERR_NOMEM;
	return code == CURLE_WRITE_ERROR && p->body.failed ? ERR_TOO_LARGE : ERR_UNAVAILABLE;
}

static struct slice
kept_of(const struct http_post *p, enum kept k)
{
	return p->kept[k].len == 0 ? (struct slice){ NULL, 0 } : strbuf_slice(&p->kept[k]);
}

enum err
http_post_send(struct http_post *p, struct slice body, int64_t deadline_ms,
    const _Atomic uint32_t *stop, struct http_reply *out)
{
	const int64_t left_ms = deadline_ms - clock_mono_ms();
	long status = 0;
	CURLcode code;

	*out = (struct http_reply){ 0 };
	if (left_ms <= 0)
		return ERR_TIMEOUT;
	forget_reply(p);
	p->stop = stop;
	if (curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, (long)left_ms) != CURLE_OK ||
	    curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)left_ms) != CURLE_OK ||
	    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body.len == 0 ? "" : body.ptr) !=
		CURLE_OK ||
	    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) !=
		CURLE_OK)
		return ERR_NOMEM;
	code = curl_easy_perform(p->curl);
	if (code != CURLE_OK)
		return failed(p, code);
	(void)curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	*out = (struct http_reply){ .status = (int)status,
		.body = strbuf_slice(&p->body),
		.retry_after = kept_of(p, RETRY_AFTER),
		.grpc_status = kept_of(p, GRPC_STATUS),
		.grpc_details = kept_of(p, GRPC_DETAILS) };
	return ERR_OK;
}
