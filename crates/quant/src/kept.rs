//! What is kept on disk between blocks, so that a run that was stopped goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::{Error as FormatError, Tensor};
use crayon_model::Place;
use crayon_model::Projection;
use crayon_train::Variable;
use crayon_train::quantised::{BlockSetup, Extremes, Grid};

use crate::block::{BlockReport, PlaceReport};
use crate::{QuantError, Recipe};

/// The file within the folder.
const FILE: &str = "blocks.safetensors";

/// Finished blocks, and what the last of them gives.
pub(crate) struct Kept {
    pub(crate) setups: Vec<BlockSetup>,
    pub(crate) reports: Vec<BlockReport>,
    pub(crate) hidden: Vec<f32>,
}

impl Kept {
    /// Writes everything into `folder`, in one step.
    pub(crate) fn keep(&self, folder: &Path, key: &str) -> Result<(), QuantError> {
        crayon_files::create_folder(folder).map_err(FormatError::from)?;
        let mut tensors = vec![vector("hidden", &self.hidden)];
        for (setup, report) in self.setups.iter().zip(&self.reports) {
            let layer = setup.layer;
            for (place, values) in &setup.scales {
                tensors.push(vector(&format!("{layer}.scales.{place}"), &values.values));
            }
            for (place, values) in &setup.ranges {
                tensors.push(vector(&format!("{layer}.ranges.{place}"), &values.values));
            }
            for (projection, values) in &setup.shares {
                tensors.push(vector(&format!("{layer}.shares.{}", projection.stem()), &values.values));
            }
            for (projection, grids) in &setup.grids {
                let numbers: Vec<f32> = grids.iter().flat_map(|grid| numbers(*grid)).collect();
                tensors.push(vector(&format!("{layer}.grids.{}", projection.stem()), &numbers));
            }
            for (place, extremes) in &setup.extremes {
                tensors.push(vector(&format!("{layer}.low.{place}"), &extremes.low));
                tensors.push(vector(&format!("{layer}.high.{place}"), &extremes.high));
            }
            for (name, values) in &setup.weights {
                tensors.push(vector(&format!("weights.{name}"), &values.values));
            }
            tensors.push(vector(&format!("{layer}.loss"), &[report.loss_before, report.loss]));
            for place in &report.places {
                let numbers = [place.outliers, place.kurtosis].concat();
                tensors.push(vector(&format!("{layer}.seen.{}", place.place), &numbers));
            }
        }
        let metadata = BTreeMap::from([
            ("key".to_owned(), key.to_owned()),
            ("blocks".to_owned(), self.setups.len().to_string()),
        ]);
        Ok(safetensors::write(&path(folder), &tensors, &metadata)?)
    }

    /// What was kept in `folder` under this key; `None` to start anew. A file that cannot be read only costs time.
    pub(crate) fn resume(
        folder: &Path,
        key: &str,
        recipe: &Recipe,
        spec: &crayon_formats::spec::Spec,
    ) -> Option<Kept> {
        let path = path(folder);
        if !path.is_file() {
            return None;
        }
        let file = SafeTensors::open(&path).ok()?;
        if file.metadata.get("key").map(String::as_str) != Some(key) {
            return None;
        }
        let blocks: usize = file.metadata.get("blocks")?.parse().ok()?;
        let read = |name: String| Some(file.tensor(&name).ok()??.to_f32());
        let mut kept = Kept { setups: Vec::new(), reports: Vec::new(), hidden: read("hidden".to_owned())? };
        for layer in 0..blocks.min(spec.layers) {
            let mut setup = BlockSetup::new(layer, recipe.rounding(), spec);
            let mut places = Vec::new();
            for place in Place::ALL {
                if let Some(values) = read(format!("{layer}.scales.{place}")) {
                    setup.scales.insert(place, Variable::new(values));
                }
                if let Some(values) = read(format!("{layer}.ranges.{place}")) {
                    setup.ranges.insert(place, Variable::new(values));
                }
                let (low, high) =
                    (read(format!("{layer}.low.{place}"))?, read(format!("{layer}.high.{place}"))?);
                setup.extremes.insert(place, Extremes { low, high });
                if let [a, b, c, d] = read(format!("{layer}.seen.{place}"))?[..] {
                    places.push(PlaceReport { place, outliers: [a, b], kurtosis: [c, d] });
                }
            }
            for projection in Projection::ALL {
                if let Some(values) = read(format!("{layer}.shares.{}", projection.stem())) {
                    setup.shares.insert(projection, Variable::new(values));
                }
                if let Some(values) = read(format!("{layer}.grids.{}", projection.stem())) {
                    setup.grids.insert(projection, values.as_chunks().0.iter().copied().map(grid).collect());
                }
            }
            let prefix = format!("weights.blk.{layer}.");
            let own: Vec<String> =
                file.names().filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
            for name in own {
                let canonical = name.trim_start_matches("weights.").to_owned();
                setup.weights.insert(canonical, Variable::new(read(name)?));
            }
            let [loss_before, loss] = read(format!("{layer}.loss"))?[..] else { return None };
            kept.setups.push(setup);
            kept.reports.push(BlockReport { layer, loss_before, loss, places });
        }
        Some(kept)
    }

    /// Removes what was kept in `folder`, and the folder if nothing else is in it.
    pub(crate) fn remove(folder: &Path) {
        let _ = std::fs::remove_file(path(folder));
        let _ = std::fs::remove_dir(folder);
    }
}

fn numbers(grid: Grid) -> [f32; 5] {
    let Grid { unit, step, zero, codes: [least, most] } = grid;
    [unit, step, zero, least, most]
}

fn grid([unit, step, zero, least, most]: [f32; 5]) -> Grid {
    Grid { unit, step, zero, codes: [least, most] }
}

fn vector(name: &str, values: &[f32]) -> Tensor {
    Tensor::from_f32(name, vec![values.len()], values)
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}
