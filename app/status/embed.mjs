// Makes one page of the files beside this one, and a C array of the page: embed.mjs NODE_MODULES > page.c
//
// The page asks for nothing from outside, and its policy names by hash the one style and the one script that it
// has, so nothing else can run in it.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const uplot = join(process.argv[2], "uplot");

const read = (...path) => readFileSync(join(...path), "utf8").trim();
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const style = [read(uplot, "dist/uPlot.min.css"), read(here, "page.css")].join("\n");
const script = [
	`/*! uPlot\n${read(uplot, "LICENSE")}\n*/`,
	read(uplot, "dist/uPlot.iife.min.js"),
	...["format.js", "pieces.js", "series.js", "charts.js", "parts.js", "page.js"].map((name) => read(here, name)),
].join("\n");

const page = read(here, "page.html")
	.replace("/* style */", () => style)
	.replace("/* script */", () => script);

const policy = [
	"default-src 'none'",
	`script-src ${hash(script)}`,
	`style-src ${hash(style)}`,
	"img-src data:", // the icon
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
].join("; ");

const bytes = [...Buffer.from(page)].join(",").replace(/(.{100,}?),/g, "$1,\n");

console.log(`/* Made by app/status/embed.mjs. */
#include "runtime/status_page.h"

static const unsigned char page[] = {
${bytes}
};

const struct slice status_page = { (const char *)page, sizeof page };
const char status_page_policy[] = "${policy}";`);
