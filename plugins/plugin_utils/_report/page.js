// SPDX-License-Identifier: GPL-3.0-or-later
// Shows the rows of each <noscript> as a table of pages that can be sorted and filtered.
"use strict";
document.documentElement.classList.add("script");

const PAGE = 20;

class Listing {
  constructor(section) {
    const find = (selector) => section.querySelector(selector);
    this.section = section;
    this.body = find(".interactive tbody");
    this.heads = [...section.querySelectorAll("th")];
    this.text = find("input");
    this.host = find("select.host");
    this.state = find("select.state");
    this.output = find("output");
    this.lines = find("noscript").textContent.split("\n").filter((line) => line.startsWith("<tr"));
    this.rows = null;
    this.page = 0;
    // To read all rows of a large fleet takes a moment: the first page needs only its own.
    this.total = this.lines.length;
    this.shown = parse(this.lines.slice(0, PAGE));
    this.heads.forEach((head, column) => head.firstChild.addEventListener("click", () => this.sort(column)));
    this.text.addEventListener("input", () => this.filter());
    this.host.addEventListener("change", () => this.filter());
    this.state.addEventListener("change", () => this.filter());
    find(".clear").addEventListener("click", () => this.only(""));
    find(".pager").addEventListener("click", (event) => this.turn(event.target.dataset.to));
    this.show();
  }

  all() {
    this.rows ??= parse(this.lines).map((row) => ({
      row,
      text: row.textContent.toLowerCase(),
      host: row.cells[this.section.dataset.hostColumn].textContent,
      state: row.cells[this.section.dataset.stateColumn].firstChild.textContent,
    }));
    return this.rows;
  }

  sort(column) {
    const head = this.heads[column];
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const keyed = this.all().map((one) => [key(one.row.cells[column]), one]);
    keyed.sort(([one], [other]) => direction * compare(one, other));
    this.rows = keyed.map(([, one]) => one);
    this.heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    this.filter();
  }

  filter() {
    const words = this.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const host = this.host.value;
    const state = this.state.value;
    this.shown = this.all()
      .filter((one) => (!host || one.host === host) && (!state || one.state === state) && words.every((word) => one.text.includes(word)))
      .map((one) => one.row);
    this.total = this.shown.length;
    this.page = 0;
    this.show();
  }

  only(host) {
    this.text.value = this.state.value = "";
    this.host.value = host;
    this.filter();
  }

  turn(to) {
    const last = this.last();
    const page = { first: 0, previous: this.page - 1, next: this.page + 1, last }[to];
    if (page === undefined || page < 0 || page > last) return;
    if (!this.rows) this.shown = this.all().map((one) => one.row);
    this.page = page;
    this.show();
  }

  last() {
    return Math.max(0, Math.ceil(this.total / PAGE) - 1);
  }

  show(whole = false) {
    const start = this.page * PAGE;
    const { one, many } = this.section.dataset;
    if (whole && !this.rows) this.shown = this.all().map((each) => each.row);
    this.body.replaceChildren(...(whole ? this.shown : this.shown.slice(start, start + PAGE)));
    const count = `${this.total.toLocaleString("en")} ${this.total === 1 ? one : many}`;
    const end = Math.min(start + PAGE, this.total);
    this.output.textContent = this.total > PAGE ? `${(start + 1).toLocaleString("en")} to ${end.toLocaleString("en")} of ${count}` : count;
    this.section.classList.toggle("one-page", this.total <= PAGE);
    const ends = { first: 0, previous: 0, next: this.last(), last: this.last() };
    this.section.querySelectorAll(".pager button").forEach((button) => {
      button.setAttribute("aria-disabled", String(this.page === ends[button.dataset.to]));
    });
  }
}

function parse(lines) {
  const template = document.createElement("template");
  template.innerHTML = `<table><tbody>${lines.join("")}</tbody></table>`;
  return [...template.content.querySelectorAll("tr")];
}

function key(cell) {
  if (cell.dataset.key !== undefined) return Number(cell.dataset.key);
  const time = cell.querySelector("time");
  if (time) return time.dateTime;
  return cell.querySelector(".none") ? "" : cell.textContent;
}

const byName = new Intl.Collator("en", { numeric: true }).compare; // db2 before db10

function compare(one, other) {
  return typeof one === "number" ? one - other : byName(one, other);
}

document.addEventListener("DOMContentLoaded", () => {
  const listings = [...document.querySelectorAll(".listing")].map((section) => new Listing(section));
  const tiles = [...document.querySelectorAll(".tiles a")];
  const hosts = tiles.map((tile) => tile.dataset.host).sort(byName);
  for (const listing of listings) listing.host.append(...hosts.map((host) => new Option(host, host)));
  for (const tile of tiles) {
    tile.addEventListener("click", (event) => {
      event.preventDefault();
      for (const listing of listings) listing.only(tile.dataset.host);
      document.getElementById("databases-title").focus({ preventScroll: true });
      document.getElementById("databases").scrollIntoView();
    });
  }
  addEventListener("beforeprint", () => listings[0].show(true));
  addEventListener("afterprint", () => listings[0].show());
});
