"use strict";

// Numbers for people.  What is not known is a dash; digits group by thin spaces; a unit stays with its number.

const UNKNOWN = "–";
const GLUE = "\u00a0";

function formatWhole(n) {
	return n == null ? UNKNOWN : Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/* As many figures as count: 0.12, 3.4, 56, 7 890. */
function formatAmount(n) {
	if (n == null) return UNKNOWN;
	if (n === 0) return "0";
	if (n < 0.995) return n < 0.01 ? "<0.01" : n.toFixed(2);
	return n < 9.95 ? String(Math.round(n * 10) / 10) : formatWhole(n);
}

function formatPercent(ratio) {
	if (ratio == null) return UNKNOWN;
	const percent = ratio * 100;
	// Never 100 % when something was missed.
	return percent > 99.95 && percent < 100 ? ">99.9" : percent.toFixed(percent === 0 || percent === 100 ? 0 : 1);
}

function formatMs(ms) {
	if (ms == null) return UNKNOWN;
	if (ms < 1000) return `${ms < 10 ? formatAmount(ms) : Math.round(ms)}${GLUE}ms`;
	return formatSpan(ms);
}

/* How long: the two greatest units. */
function formatSpan(ms) {
	if (ms == null) return UNKNOWN;
	const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
	const seconds = Math.floor(ms / 1000);
	const first = units.findIndex(([, size]) => seconds >= size);

	if (first === -1) return `0${GLUE}s`;
	const [unit, size] = units[first];
	const rest = units[first + 1];
	const more = rest && Math.floor((seconds % size) / rest[1]);
	return [Math.floor(seconds / size), unit, ...(more ? [more, rest[0]] : [])].join(GLUE);
}

function formatBytes(n) {
	if (n == null) return UNKNOWN;
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let unit = 0;

	for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
	return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)}${GLUE}${units[unit]}`;
}

function formatClock(seconds) {
	return new Date(seconds * 1000).toTimeString().slice(0, 8);
}
