// Equations, which pymdownx.arithmatex marked: \( ... \) in a line, \[ ... \] on lines of their own.
for (const element of document.querySelectorAll(".arithmatex")) {
  const source = element.textContent.trim();
  katex.render(source.slice(2, -2), element, { displayMode: source.startsWith("\\[") });
}
