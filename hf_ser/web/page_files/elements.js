// Elements of the page. All text is inserted as text, never as HTML: names of files and labels may contain anything.

/** Make an element; children are elements or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Set properties of an element's style, custom ones too. The page's policy forbids the attribute. */
export function styled(made, properties) {
  for (const [name, value] of Object.entries(properties)) made.style.setProperty(name, value);
  return made;
}

export function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}
