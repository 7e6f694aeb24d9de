// The report's stand-in for a kernel.
const data = JSON.parse(document.getElementById("twin").textContent);
const model = { get: (name) => data[name], set: (name, value) => { data[name] = value; }, on() {}, off() {}, save_changes() {}, send() {} };
page.render({ model, el: document.getElementById("explorer") });
