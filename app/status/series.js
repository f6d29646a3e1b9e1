"use strict";

// The last minutes: rows as the server tells them, and the curves that are made of them.
//
// A row has counters as they stood, so a rate is the difference of two rows over their distance.  Where rows are
// missing (nobody looked, the pool was made anew) there is a gap, never a line over it.

const KEPT_S = 600;
const GAP_S = 5;

class Series {
	constructor() {
		this.rows = [];
	}

	/* {columns, rows} of `?json&full`; ${offset} turns monotonic milliseconds into seconds since 1970. */
	restart(history, offset) {
		this.rows = history.rows.map((values) => {
			const row = Object.fromEntries(history.columns.map((name, i) => [name, values[i] === -1 ? null : values[i]]));
			return { ...row, at: row.atMs / 1000 + offset };
		});
	}

	add(row, offset) {
		const last = this.rows.at(-1);

		if (last && row.atMs - last.atMs < 500) return;
		this.rows.push({ ...row, at: row.atMs / 1000 + offset });
		while (this.rows[0].at < this.rows.at(-1).at - KEPT_S) this.rows.shift();
	}

	get times() {
		return this.rows.map((row) => row.at);
	}

	gauge(name, scale = 1) {
		return this.rows.map((row) => (row[name] == null ? null : row[name] * scale));
	}

	/* Of two rows, what lies between them; null over a gap, or when a counter began anew. */
	between(make) {
		return this.rows.map((row, i) => {
			const before = this.rows[i - 1];
			return before && row.at - before.at <= GAP_S ? make(before, row, row.at - before.at) : null;
		});
	}

	rate(name) {
		return this.between((a, b, seconds) => (b[name] < a[name] ? null : (b[name] - a[name]) / seconds));
	}

	percent(hits, misses) {
		return this.between((a, b) => {
			const hit = b[hits] - a[hits];
			const all = hit + b[misses] - a[misses];
			return all > 0 && hit >= 0 ? (100 * hit) / all : null;
		});
	}
}
