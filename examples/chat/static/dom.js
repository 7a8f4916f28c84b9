// What several parts of the page do with its elements.

/** Returns a new element with these properties and children. */
export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Makes these the children of a list. Those that stay in their place are not touched. */
export function arrange(list, children) {
  const wanted = new Set(children);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, n) => {
    if (list.children[n] !== child) list.insertBefore(child, list.children[n] ?? null);
  });
}

/** Marks a field as invalid or valid. */
export function mark(field, isWrong) {
  if (isWrong) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/** Sets a colour and a letter for a name, which are the same on all pages. */
export function paint(place, name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 360;
  place.style.setProperty("--hue", sum * 137 % 360); // different even for names that are similar
  place.dataset.initial = [...name][0].toLocaleUpperCase();
}

/** Shows a user's name in an element, in whichever direction the name is written. */
export function showName(place, name) {
  place.replaceChildren(element("bdi", { textContent: name }));
  place.title = name;
  paint(place, name);
}
