"use strict";
// Shows one volume and its overlays in NiiVue. What it needs to know stands in #facts.
const facts = JSON.parse(document.getElementById("facts").textContent);
const state = document.getElementById("state");
const WINDOWS = { "soft tissue": [-160, 240], lung: [-1350, 150], bone: [-500, 1300] };

function report(text) {
  state.textContent = text;
}

function legend(labels) {
  return labels.map((label) => {
    const row = document.createElement("div");
    row.className = "label";
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${label.color.join(",")})`;
    row.append(swatch, document.createTextNode(label.name));
    return row;
  });
}

function lookup(labels) {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (const { number, name, color } of labels) {
    table.R.push(color[0]);
    table.G.push(color[1]);
    table.B.push(color[2]);
    table.A.push(255);
    table.I.push(number);
    table.labels.push(name);
  }
  return table;
}

async function addOverlay(viewer, overlay, place) {
  const url = `/data/${facts.key}/${overlay.key}`;
  const answer = await fetch(`${url}.json`);
  if (!answer.ok) throw new Error(await answer.text());
  const labels = await answer.json();
  const map = overlay.kind === "parametric map";
  await viewer.addVolumeFromUrl({ url: `${url}.nii.gz`, colormap: map ? "hot" : "gray", opacity: 0.5 });
  const volume = viewer.volumes[viewer.volumes.length - 1];
  if (!map) volume.setColormapLabel(lookup(labels));
  viewer.updateGLVolume();

  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = 1;
  slider.step = 0.05;
  slider.value = 0.5;
  const apply = () =>
    viewer.setOpacity(viewer.volumes.indexOf(volume), box.checked ? Number(slider.value) : 0);
  box.onchange = slider.oninput = apply;
  const title = document.createElement("label");
  title.append(box, ` ${overlay.kind}`);
  place.append(title, slider, ...legend(labels));
}

function addWindows(viewer, place) {
  for (const [name, [low, high]] of Object.entries(WINDOWS)) {
    const button = document.createElement("button");
    button.textContent = name;
    button.onclick = () => {
      viewer.volumes[0].cal_min = low;
      viewer.volumes[0].cal_max = high;
      viewer.updateGLVolume();
    };
    place.append(button, " ");
  }
}

async function main() {
  const place = document.getElementById("overlays");
  const viewer = new niivue.Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, crosshairWidth: 0.5, isColorbar: false });
  await viewer.attachTo("stage");
  viewer.setRadiologicalConvention(true);
  const url = `/data/${facts.key}/image.nii.gz`;
  const window = facts.modality === "CT" ? { cal_min: -160, cal_max: 240 } : {};
  await viewer.loadVolumes([{ url, colormap: "gray", ...window }]);
  if (facts.modality === "CT") addWindows(viewer, place);
  const problems = [];
  for (const overlay of facts.overlays) {
    const section = document.createElement("section");
    place.append(section);
    try {
      await addOverlay(viewer, overlay, section);
    } catch (error) {
      problems.push(`${overlay.kind}: ${error.message}`);
    }
  }
  const shape = viewer.volumes[0].dims.slice(1, 4).join(" x ");
  report([`${shape} voxels (columns x rows x slices), ${viewer.volumes.length - 1} overlays`, ...problems].join("\n"));
  document.body.dataset.state = problems.length ? "problems" : "ready";
}

main().catch((error) => {
  report(`It cannot be shown: ${error.message}`);
  document.body.dataset.state = "failed";
});
