// One picture, large: where it is, why it has its label, and how to correct it.

import { Problem, get, send, state } from "./api.js";
import { by, count, h, meter, percent, setText, signed } from "./dom.js";
import { attempt } from "./talk.js";

let open = null; // the number of the picture
let drawn = ""; // what was drawn of it

export function start() {
  const dialog = by("look");
  dialog.addEventListener("close", () => (open = null));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}

export function lookAt(number) {
  open = number;
  drawn = "";
  show(state);
  if (open !== null) by("look").showModal();
  by("look").scrollTop = 0;
}

// Draw the picture that is open, if something of it has changed.
export function show({ content, labels }) {
  if (open === null) return;
  const places = [{ number: 0, name: "", pictures: content.new }, ...content.classes];
  const place = places.find((one) => one.pictures.some((picture) => picture.number === open));
  if (!place) return by("look").close();
  const picture = place.pictures.find((one) => one.number === open);
  const best = labels?.of[open];
  const names = content.classes.map((one) => `${one.number} ${one.name}`).join();
  const key = [open, place.number, names, content.head, best ? labels.fit.number : ""].join();
  if (key === drawn) return;
  drawn = key;
  const isNew = place.number === 0;
  by("look").replaceChildren(
    h(
      "header.row",
      {},
      h("h2", { id: "look-title", dir: "auto" }, isNew && best ? labels.fit.classes[best[0][0]] : picture.name),
      h("button.link", { type: "button", onclick: () => by("look").close() }, "Close"),
    ),
    h(
      "div.look",
      {},
      h("figure", {}, h("img", { src: `pictures/${open}`, alt: picture.name }), h("figcaption.faint", {}, caption(picture))),
      isNew ? shares(best, labels?.fit) : h("p.faint", {}, `This picture teaches “${place.name}”.`),
      placing(content, place, isNew),
    ),
    isNew && best ? reasons(labels.fit, open) : "",
  );
}

function caption(picture) {
  return `${picture.name}, ${picture.size.join(" × ")} pixels`;
}

function shares(best, fit) {
  if (!best) return h("p", {}, "It has no label yet.");
  const row = ([index, share]) => h("tr", {}, h("th", { scope: "row", dir: "auto" }, fit.classes[index]), h("td", {}, meter(share)), h("td.number", {}, percent(share)));
  return h("table.shares", {}, h("caption.unseen", {}, "Probabilities"), h("tbody", {}, ...best.map(row)));
}

// Where the picture goes: a class that it teaches, or away.
function placing(content, place, isNew) {
  const number = open;
  const others = content.classes.filter((one) => one.number !== place.number);
  const move = (to) => attempt(() => send(`pictures/${number}`, { place: to }));
  const away = h("button.button.danger", { type: "button", onclick: () => attempt(() => send("pictures/remove", { numbers: [number] })) }, "Remove");
  if (content.head !== null) return h("p.row", {}, away);
  const select = h("select", { id: "move-to" }, h("option", { value: "" }, "choose a class"), ...others.map((one) => h("option", { value: one.number }, one.name)));
  if (!isNew) select.append(h("option", { value: 0 }, "new pictures"));
  select.addEventListener("change", () => select.value !== "" && move(Number(select.value)));
  const text = isNew ? "Teach with it: it is a" : "Move it to";
  return h("div.placing", {}, h("label", { htmlFor: "move-to" }, text), select, away);
}

function reasons(fit, number) {
  const box = h("section.why", { "aria-live": "polite" }, h("p.faint", {}, "Looking for reasons…"));
  get(`why/${fit.number}/${number}`)
    .then((why) => box.replaceChildren(...told(why)))
    .catch((error) => {
      if (!(error instanceof Problem)) throw error;
      box.replaceChildren(h("p.faint", {}, error.message));
    });
  return box;
}

function told(why) {
  const parts = [h("h3", {}, "Why this label"), h("p", {}, sentence(why)), terms(why)];
  if (why.support.length) {
    const of = why.support_terms.join(" and ");
    const largest = why.support[0].value;
    parts.push(h("h3", {}, "Pictures that spoke for it"), h("p.faint", {}, `What each adds to the logit of ${why.label}, in ${of}.`));
    parts.push(h("ul.support", {}, ...why.support.map((one) => h("li", {}, seen(one), meter(one.value / largest), h("span.number", {}, signed(one.value))))));
  }
  if (why.note) parts.push(h("p.faint", {}, why.note));
  return parts;
}

function seen({ picture, name }) {
  return picture ? h("img", { src: picture, alt: name, title: name }) : h("span.missing", {}, name);
}

function sentence(why) {
  if (!why.rival) return `The logit of ${why.label} is ${why.logit.toFixed(2)}.`;
  const ahead = why.logit - why.rival_logit;
  const start = `${why.label} is ${ahead.toFixed(2)} ahead of ${why.rival}, which comes next.`;
  if (why.terms.length < 2) return start;
  const [name, own, other] = why.terms.reduce((best, term) => (term[1] - term[2] > best[1] - best[2] ? term : best));
  return `${start} The ${name} speaks for it most (${signed(own - other)}).`;
}

function terms(why) {
  const most = Math.max(...why.terms.map(([, own, other]) => Math.abs(own - other))) || 1;
  const cells = (own, other) => [h("td.number", {}, signed(own)), ...(why.rival ? [h("td.number", {}, signed(other)), h("td.number", {}, signed(own - other))] : [])];
  const row = ([name, own, other]) =>
    h("tr", {}, h("th", { scope: "row" }, name), ...cells(own, other), why.rival ? h("td.track", {}, meter(Math.abs(own - other) / most, own < other)) : null);
  const heading = ["part", why.label, ...(why.rival ? [why.rival, "difference"] : [])];
  return h(
    "table.terms",
    {},
    h("caption.unseen", {}, "The parts of the logit, which add up to it"),
    h("thead", {}, h("tr", {}, ...heading.map((text, i) => h(i ? "th.number" : "th", { scope: "col" }, text)), why.rival ? h("th", { "aria-hidden": "true" }) : null)),
    h("tbody", {}, ...why.terms.map(row)),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "logit"), ...cells(why.logit, why.rival_logit), why.rival ? h("td") : null)),
  );
}
