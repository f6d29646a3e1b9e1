"use strict";

// What the page is built of.  All that is shown is set as text, so nothing that a server says is ever taken for
// markup.

const byId = (id) => document.getElementById(id);

function el(tag, props = {}, ...children) {
	const made = Object.assign(document.createElement(tag), props);
	made.append(...children);
	return made;
}

/* Only what has changed is touched, so that a selection stays and nothing is read aloud twice. */
function setText(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

const GOOD = new Set(["closed", "forced-closed", "applying", "going", "working"]);
const CALM = new Set(["idle", "watching"]);
const GRAVE = new Set(["open", "forced-open", "stopped", "silent", "full", "cannot be read"]);

function pill(word) {
	const how = GOOD.has(word) ? "good" : CALM.has(word) ? "" : GRAVE.has(word) ? "bad" : "warn";
	return el("span", { className: `pill ${how}` }, word);
}

function meter(used, limit, text) {
	const bar = el("meter", { min: 0, max: limit || 1, high: 0.9 * limit, value: used, ariaLabel: text });
	return el("span", { className: "metered" }, bar, el("span", {}, text));
}

function bytesMeter(used, limit) {
	return meter(used, limit, `${formatBytes(used)} of ${formatBytes(limit)}`);
}

/* A cell knows its column's name, for phones, where a row is a card. */
function row(labels, ...cells) {
	return el("tr", {}, ...cells.map((cell, i) => {
		const { value = cell, number = false } = cell?.value === undefined ? {} : cell;
		const made = el(i === 0 ? "th" : "td", { className: number ? "number" : "" });
		if (i === 0) made.scope = "row";
		made.dataset.label = labels[i];
		if (value === UNKNOWN) made.classList.add("none");
		made.append(value);
		return made;
	}));
}

const number = (text) => ({ value: text, number: true });

/* Made anew only when it says something else. */
function fill(node, children) {
	const made = node.cloneNode(false);
	made.append(...children);
	if (!made.isEqualNode(node)) node.replaceChildren(...made.children);
}

function fillFacts(list, facts) {
	fill(list, facts.filter(Boolean).map(([name, ...values]) =>
		el("div", {}, el("dt", {}, name), el("dd", {}, ...values))));
}

const columnsOf = (body) => [...body.closest("table").querySelectorAll("thead th")].map((th) => th.textContent);
