#ifndef SERVICE_QUOTA_H
#define SERVICE_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "service/fleet.h"

struct endpoint;
struct limit_rule;
struct response;

/*
 * All limits of one request, taken together or not at all.
 *
 * The limits that refuse are taken first, in the order of the endpoint's file; those that only observe
 * are counted after them, when the request passes, and neither refuse nor appear in headers.  What is
 * limited is a client under a rule: its slot is found by a hash under the segment's random seed.
 * With a fleet the buckets are common to all hosts (service/fleet.h).
 */
struct quota {
	struct limiter *limiter;
	uint64_t seed;	     /* of the segment */
	struct fleet *fleet; /* NULL: this host is all there is */
};

struct quota_caller {
	struct slice client; /* the tenant when there is one, else the address */
	struct slice tenant; /* absent or empty: limits by tenant count by address */
	struct slice ip;
};

enum { QUOTA_MAX_RULES = 8 };

struct quota_verdict {
	int refused;  /* index of the rule that refused, -1 none */
	int tightest; /* the rule with the smallest share left: what X-RateLimit-* tells; -1 none */
	unsigned observed;	 /* rules in observe mode that would have refused */
	unsigned observed_rules; /* which: a bit for each, by its index */
	bool overflow;		 /* a rule had no slot for this client alone */
	int64_t retry_after_s;	 /* >= 1 when refused, rounded up */
	/* Of each rule that refuses, by its index; reset_s until all is there again, or, of the one
	 * that refused now, retry_after_s. */
	uint64_t remaining[QUOTA_MAX_RULES];
	int64_t reset_s[QUOTA_MAX_RULES];
};

/* ERR_OK or ERR_LIMITED; on a refusal everything taken before is given back.  Cost: that of
 * limiter_take() for each rule, and a hash; nothing is allocated.
 * With a fleet also ERR_CONFLICT: Redis must be asked, nothing is taken, call quota_ask() where
 * blocking is allowed; and ERR_UNAVAILABLE: limits are closed while Redis does not answer. */
enum err quota_take(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out);

/* As quota_take(), but asks Redis where it must: one operation for each such rule.  Never ERR_CONFLICT. */
enum err quota_ask(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out);

/* For `weir limit explain`: one rule, one caller, nothing taken.  With a fleet Redis is asked. */
struct quota_explained {
	struct slice name; /* who is counted: a tenant or an address */
	bool by_tenant;
	struct limiter_state here; /* in this host's segment */
	bool shared;		   /* with a fleet: */
	struct fleet_view fleet;
	uint64_t error; /* the most by which hosts may be apart inside one window */
};
void quota_explain(const struct quota *q, const struct limit_rule *rule,
    const struct quota_caller *who, int64_t now_ns, struct quota_explained *out);

/*
 * RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10), with every rule that
 * refuses; X-RateLimit-Limit, -Remaining and -Reset (seconds from now) of the tightest.  Limit is the
 * most that Remaining can be: the burst of a token bucket, the quota of a sliding window.
 * Without room in ${a} there are no headers.
 */
void quota_headers(
    const struct quota_verdict *v, const struct endpoint *e, struct arena *a, struct response *r);

#endif
