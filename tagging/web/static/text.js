// Text that a person reads, in their language.

export function t(text, values = {}) {
  return text.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}
