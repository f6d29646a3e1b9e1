/*
 * The queue before the lane: CoDel's test whether it stands, adaptive LIFO, shares of classes, and those who ask for
 * most first out.
 */
#include "policy/waiting.h"

#include "base/container.h"

enum {
	INTERVAL_CALLS = 10,
	CROWD_LEAST = 32,
	PATIENCE = 2,
	CALM_PART = 5, /* one in so many came in without waiting */
	LEARN_PART = 8,
};

static const int64_t interval_least_ns = INT64_C(100000000), heavy_least_ns = INT64_C(5000000),
		     never_ns = INT64_MAX / 4, light_heard_ns = INT64_C(1000000000);

/* What each class may have of the places while all of them wait. */
static const uint64_t strides[ADMISSION_CLASSES] = {
	[ADMISSION_CRITICAL] = 1, [ADMISSION_NORMAL] = 2, [ADMISSION_BULK] = 8
};

void
waiting_init(struct waiting *w, size_t most, int64_t now_ns)
{
	*w = (struct waiting){
		.most = most, .good_ns = now_ns, .looked_ns = now_ns, .light_ns = -never_ns
	};
}

static int64_t
interval_ns(const struct waiting *w)
{
	const int64_t calls_ns = INTERVAL_CALLS * w->call_ns;

	if (w->call_ns == 0)
		return never_ns;
	return calls_ns > interval_least_ns ? calls_ns : interval_least_ns;
}

static struct waiter_list *
list_of(struct waiting *w, const struct waiter *it)
{
	return it->heavy ? &w->heavy[it->class] : &w->light[it->class];
}

static void
link_last(struct waiting *w, struct waiter *it)
{
	struct waiter_list *l = list_of(w, it);

	it->next = NULL;
	it->prev = l->last;
	if (l->last != NULL)
		l->last->next = it;
	else
		l->first = it;
	l->last = it;
	l->count++;
	w->count++;
	w->heavies += it->heavy;
}

static void
unlink_it(struct waiting *w, struct waiter *it, int64_t now_ns)
{
	struct waiter_list *l = list_of(w, it);

	*(it->prev != NULL ? &it->prev->next : &l->first) = it->next;
	*(it->next != NULL ? &it->next->prev : &l->last) = it->prev;
	it->next = it->prev = NULL;
	l->count--;
	w->count--;
	w->heavies -= it->heavy;
	if (w->count == 0)
		w->good_ns = now_ns;
}

static void
put_out(
    struct waiting *w, struct waiter *it, enum shed_reason why, int64_t now_ns, struct waiter **out)
{
	unlink_it(w, it, now_ns);
	it->shed = why;
	it->next = *out;
	*out = it;
}

/* Whoever is heavy is so beside others who are not, or there are just too many. */
static enum shed_reason
heavy_reason(const struct waiting *w, const struct waiter *it, int64_t now_ns)
{
	if (it->class == ADMISSION_BULK)
		return SHED_PRIORITY;
	return now_ns - w->light_ns < light_heard_ns ? SHED_TENANT_SHARE : SHED_CONCURRENCY;
}

/* How many of the heavy may wait in a crowd: their wait is about half a call's time then. */
static size_t
heavy_places(size_t busy)
{
	return busy < 4 ? 1 : busy / 2;
}

/* The oldest of the least important heavy ones. */
static struct waiter *
first_to_go(const struct waiting *w)
{
	for (size_t c = ADMISSION_CLASSES; c > 0; c--)
		if (w->heavy[c - 1].first != NULL)
			return w->heavy[c - 1].first;
	return NULL;
}

static void
trim(struct waiting *w, size_t busy, int64_t now_ns, struct waiter **out)
{
	while (w->crowded && w->heavies > heavy_places(busy)) {
		struct waiter *it = first_to_go(w);

		put_out(w, it, heavy_reason(w, it, now_ns), now_ns, out);
	}
}

/* A wait that is no sign of a crowd. */
static int64_t
short_ns(const struct waiting *w)
{
	return w->call_ns / 2 > heavy_least_ns ? w->call_ns / 2 : heavy_least_ns;
}

/* How long one may wait. */
static int64_t
patience_ns(const struct waiting *w, bool heavy)
{
	const int64_t crowd_ns = CROWD_LEAST * w->each_ns;

	if (heavy && w->crowded)
		return short_ns(w);
	return PATIENCE * (crowd_ns > interval_ns(w) ? crowd_ns : interval_ns(w));
}

/* Lists are by when they came, not by since or until: what was lost before differs, so all are looked at. */
static void
expire_list(struct waiting *w, struct waiter_list *l, int64_t now_ns, struct waiter **out)
{
	struct waiter *next;

	for (struct waiter *it = l->first; it != NULL; it = next) {
		next = it->next;
		if (now_ns >= it->until_ns)
			put_out(w, it, SHED_DEADLINE, now_ns, out);
		else if (now_ns - it->since_ns > patience_ns(w, it->heavy))
			put_out(w, it, SHED_QUEUE_WAIT, now_ns, out);
	}
}

static void
begin_looking(struct waiting *w, int64_t now_ns)
{
	w->looked_ns = now_ns;
	w->came = w->came_in = 0;
}

/* All who wait are many, and more than can be served in an interval. */
static bool
is_long(const struct waiting *w)
{
	return w->count >= CROWD_LEAST && (int64_t)w->count * w->each_ns > interval_ns(w);
}

static void
judge(struct waiting *w, size_t busy, int64_t now_ns)
{
	w->each_ns = w->call_ns / (int64_t)(busy > 0 ? busy : 1);
	if (!w->crowded) {
		w->crowded = now_ns - w->good_ns > interval_ns(w) && is_long(w);
		if (w->crowded)
			begin_looking(w, now_ns);
		return;
	}
	if (now_ns - w->looked_ns <= interval_ns(w))
		return;
	if (w->came_in * CALM_PART >= w->came) {
		w->crowded = false;
		w->good_ns = now_ns; /* whoever waits now has a whole interval */
	}
	begin_looking(w, now_ns);
}

void
waiting_sweep(struct waiting *w, size_t busy, int64_t now_ns, struct waiter **out)
{
	judge(w, busy, now_ns);
	for (size_t c = 0; c < ADMISSION_CLASSES; c++) {
		expire_list(w, &w->light[c], now_ns, out);
		expire_list(w, &w->heavy[c], now_ns, out);
	}
	trim(w, busy, now_ns, out);
}

void
waiting_passed(struct waiting *w, int64_t now_ns)
{
	w->came++;
	w->came_in++;
	judge(w, 1, now_ns);
}

/* The bound is reached: somebody goes who matters less, or the one who comes. */
static void
make_room(struct waiting *w, const struct waiter *it, int64_t now_ns, struct waiter **out)
{
	struct waiter *worst = first_to_go(w);

	if (w->count < w->most || worst == NULL || (it->heavy && it->class > worst->class))
		return;
	put_out(w, worst, SHED_QUEUE_FULL, now_ns, out);
}

void
waiting_enter(
    struct waiting *w, struct waiter *it, size_t busy, int64_t now_ns, struct waiter **out)
{
	w->came++;
	it->heavy = it->heavy || it->class == ADMISSION_BULK;
	it->shed = SHED_NONE;
	if (!it->heavy)
		w->light_ns = now_ns;
	if (w->count == 0)
		w->good_ns = now_ns;
	make_room(w, it, now_ns, out);
	if (w->count >= w->most) {
		it->shed = SHED_QUEUE_FULL;
		it->next = *out;
		*out = it;
		return;
	}
	if (w->count == 0 || (w->light[it->class].count == 0 && w->heavy[it->class].count == 0))
		w->pass[it->class] = w->pass[it->class] > w->floor ? w->pass[it->class] : w->floor;
	link_last(w, it);
	judge(w, busy, now_ns);
	trim(w, busy, now_ns, out);
	if (it->shed == SHED_NONE && now_ns >= it->until_ns)
		put_out(w, it, SHED_DEADLINE, now_ns, out);
}

static bool
is_empty(const struct waiting *w, size_t class)
{
	return w->light[class].first == NULL && w->heavy[class].first == NULL;
}

/* The class that has had the least of its share. */
static size_t
next_class(struct waiting *w)
{
	size_t best = ADMISSION_CLASSES;

	for (size_t c = 0; c < ADMISSION_CLASSES; c++)
		if (!is_empty(w, c) && (best == ADMISSION_CLASSES || w->pass[c] < w->pass[best]))
			best = c;
	w->floor = w->pass[best];
	w->pass[best] += strides[best];
	return best;
}

struct waiter *
waiting_next(struct waiting *w, size_t busy, int64_t now_ns, struct waiter **out)
{
	struct waiter *it;
	size_t class;

	waiting_sweep(w, busy, now_ns, out);
	if (w->count == 0)
		return NULL;
	class = next_class(w);
	it = w->light[class].first;
	if (it == NULL)
		it = w->crowded ? w->heavy[class].last : w->heavy[class].first;
	if (now_ns - it->since_ns <= short_ns(w))
		w->good_ns = now_ns;
	unlink_it(w, it, now_ns);
	return it;
}

void
waiting_learn(struct waiting *w, int64_t call_ns)
{
	if (call_ns < 1)
		call_ns = 1;
	w->call_ns = w->call_ns == 0 ? call_ns : w->call_ns + (call_ns - w->call_ns) / LEARN_PART;
}
