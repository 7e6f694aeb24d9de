for (const figure of document.querySelectorAll("figure.slider")) {
  const frames = [...figure.querySelectorAll("img.frame")];
  const input = figure.querySelector("input"), output = figure.querySelector("output");
  const show = () => {
    frames.forEach((frame, i) => frame.classList.toggle("shown", i === Number(input.value)));
    output.value = frames[input.value].dataset.epoch;
    input.setAttribute("aria-valuetext", "epoch " + output.value);
  };
  figure.classList.add("live");
  input.addEventListener("input", show);
  show();
}
