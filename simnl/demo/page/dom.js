// Small helpers for elements. What others wrote is always set as text, never as markup.

export const by = (id) => document.getElementById(id);

// h("li.name", {title: "x"}, child, ...): an element with classes, properties and children.
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Keep one child per item: known ones stay (with focus and what is typed), others are made or go.
export function keyed(container, items, key, make, update = () => {}) {
  const known = new Map([...container.children].map((child) => [child.dataset.key, child]));
  let place = container.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (child) known.delete(name);
    else {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else container.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Put a value into a field, unless a person is typing in it.
export function setValue(field, value) {
  if (document.activeElement !== field && field.value !== value) field.value = value;
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function percent(share) {
  if (share > 0.9995) return "> 99.9 %";
  if (share < 0.0005) return "< 0.1 %";
  return `${(100 * share).toFixed(share >= 0.1 && share < 0.99 ? 0 : 1)} %`;
}

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);

// A bar that is filled to a share; `against` colours it as evidence against.
export function meter(share, against = false) {
  const fill = h(against ? "span.fill.against" : "span.fill");
  fill.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`;
  return h("span.meter", { "aria-hidden": "true" }, fill);
}

export function thumb(picture) {
  return h("img", { src: `pictures/${picture.number}`, alt: "", loading: "lazy", decoding: "async", draggable: false });
}
