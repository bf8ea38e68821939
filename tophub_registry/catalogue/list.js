"use strict";
// Elements, numbers for people, and tables. Text only ever becomes text nodes and the values of attributes: no markup is
// built from strings, because most of it is out of logs and indexes.

function make(tag, attributes = {}, ...children) {
  const element = tag === "svg" || make.svg.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
make.svg = new Set(["path", "circle", "text", "g"]);

const number = (value) => value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
const seconds = (cost) => {
  if (cost === null) return "–";
  const [unit, size] = cost >= 1 ? ["s", 1] : cost >= 1e-3 ? ["ms", 1e-3] : ["µs", 1e-6];
  return `${number(cost / size)} ${unit}`;
};
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

// A table of very many rows: sorted by any column, shown some at a time, each row with details on demand.
class List {
  constructor(columns, details) {
    this.columns = columns;
    this.details = details;
    this.column = null;
    this.down = false;
    this.body = make("tbody");
    this.more = make("button", { type: "button", class: "more" });
    this.more.addEventListener("click", () => this.grow());
    this.more.hidden = true;
    const heads = columns.map((column) => {
      const button = make("button", { type: "button" }, column.name);
      const head = make("th", { scope: "col", class: column.number ? "number" : "" }, button);
      button.addEventListener("click", () => {
        this.down = this.column === column ? !this.down : Boolean(column.down);
        this.column = column;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
        this.show(this.rows);
      });
      return head;
    });
    this.table = make("table", { class: "summary list" }, make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.table.hidden = true;
    this.element = make("div", {}, this.table, this.more);
  }

  show(rows, atLeast = 0) {
    this.rows = rows;
    this.sorted = this.column ? [...rows].sort((a, b) => this.order(a, b)) : rows;
    this.body.replaceChildren();
    this.shown = 0;
    this.table.hidden = !rows.length;
    this.grow(Math.max(List.step, atLeast));
  }

  order(a, b) {
    const [one, other] = [this.column.key(a), this.column.key(b)];
    if (one === null || other === null) return (one === null) - (other === null); // unknown values come last
    return (this.down ? -1 : 1) * (typeof one === "number" ? one - other : one.localeCompare(other));
  }

  grow(count = List.step * 4) {
    this.body.append(...this.sorted.slice(this.shown, this.shown + count).map((row) => this.line(row)));
    this.shown = Math.min(this.sorted.length, this.shown + count);
    const rest = this.sorted.length - this.shown;
    this.more.hidden = !rest;
    this.more.textContent = `Show more (${rest.toLocaleString("en")} left)`;
  }

  line(row) {
    const cells = this.columns.map((column) => {
      const content = column.cell ? column.cell(row) : column.text(row);
      const kinds = [column.number && "number", column.kind, content === "–" && "none"].filter(Boolean).join(" ");
      return make("td", { class: kinds, "data-name": column.name }, content);
    });
    const line = make("tr", {}, ...cells);
    if (this.details) {
      const button = make("button", { type: "button", class: "open", "aria-expanded": "false" }, ...cells[0].childNodes);
      cells[0].append(button);
      button.addEventListener("click", () => this.toggle(row, line, button));
    }
    return line;
  }

  async toggle(row, line, button) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) {
      line.nextSibling.remove();
      return;
    }
    const cell = make("td", { colspan: this.columns.length }, "loading …");
    line.after(make("tr", { class: "details" }, cell));
    try {
      cell.replaceChildren(await this.details(row));
    } catch (error) {
      cell.replaceChildren(make("p", { class: "bad" }, error.message));
    }
  }

  open(row) {
    const place = this.sorted.indexOf(row);
    if (place < 0) return;
    if (place >= this.shown) this.grow(place + 1 - this.shown);
    const line = [...this.body.rows].filter((each) => each.className !== "details")[place];
    const button = line.querySelector("button.open");
    if (button.getAttribute("aria-expanded") !== "true") button.click();
    line.scrollIntoView({ block: "start", behavior: "instant" });
  }
}
List.step = 25;
