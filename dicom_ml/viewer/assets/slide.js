"use strict";
// Shows one slide and its overlays in dicom-microscopy-viewer. What it needs to know stands in #facts.
const facts = JSON.parse(document.getElementById("facts").textContent);
const state = document.getElementById("state");
const COLORS = [[230, 97, 1], [26, 152, 255], [50, 205, 90], [240, 60, 160], [255, 210, 40]];

function entry(place, name, color, shown, hidden) {
  const row = document.createElement("label");
  row.className = "label";
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.onchange = () => (box.checked ? shown() : hidden());
  row.append(box);
  if (color) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${color.join(",")})`;
    row.append(swatch);
  }
  row.append(name);
  place.append(row);
  shown();
}

async function main() {
  const library = window.dicomMicroscopyViewer || window["dicom-microscopy-viewer"] || window.DICOMMicroscopyViewer;
  const client = new DICOMwebClient.api.DICOMwebClient({ url: `${location.origin}/dicomweb` });
  const headers = (series) =>
    client.retrieveSeriesMetadata({ studyInstanceUID: facts.study, seriesInstanceUID: series });
  const images = (await headers(facts.series))
    .map((metadata) => new library.metadata.VLWholeSlideMicroscopyImage({ metadata }))
    .filter((image) => !["LABEL", "OVERVIEW"].includes(image.ImageType[2]));
  const problems = [];
  const viewer = new library.viewer.VolumeImageViewer({
    client,
    metadata: images,
    controls: ["overview", "position"],
    errorInterceptor: (error) => (problems.push(String(error.message || error)), error),
  });
  viewer.render({ container: document.getElementById("stage") });
  window.viewer = viewer;

  const place = document.getElementById("overlays");
  for (const overlay of facts.overlays) {
    const found = await headers(overlay.series);
    if (overlay.kind === "segmentation") {
      viewer.addSegments(found.map((metadata) => new library.metadata.Segmentation({ metadata })));
      for (const { uid, label } of viewer.getAllSegments()) {
        entry(place, label, null, () => viewer.showSegment(uid, { opacity: 0.5 }), () => viewer.hideSegment(uid));
      }
    } else if (overlay.kind === "parametric map") {
      viewer.addParameterMappings(found.map((metadata) => new library.metadata.ParametricMap({ metadata })));
      for (const { uid, label } of viewer.getAllParameterMappings()) {
        entry(place, label, null, () => viewer.showParameterMapping(uid, { opacity: 0.5 }), () => viewer.hideParameterMapping(uid));
      }
    } else {
      for (const metadata of found) {
        viewer.addAnnotationGroups(new library.metadata.MicroscopyBulkSimpleAnnotations({ metadata }));
      }
      viewer.getAllAnnotationGroups().forEach(({ uid, label }, number) => {
        const color = COLORS[number % COLORS.length];
        entry(place, label, color, () => viewer.showAnnotationGroup(uid, { color, opacity: 1 }), () => viewer.hideAnnotationGroup(uid));
      });
    }
  }
  const sizes = images.map((image) => `${image.TotalPixelMatrixColumns} x ${image.TotalPixelMatrixRows}`).join(", ");
  state.textContent = [`levels: ${sizes}`, ...problems].join("\n");
  document.body.dataset.state = problems.length ? "problems" : "ready";
}

main().catch((error) => {
  state.textContent = `It cannot be shown: ${error.message}`;
  console.error(error);
  document.body.dataset.state = "failed";
});
