//! GPTQ (arXiv 2210.17323): weights are rounded one column after the other, and the columns that are left make up for the error,
//! as far as the layer's inputs tell that they can.

use crayon_train::quantised::{Cut, Grid};

/// Rows that are gone through together, so that the large matrix beside them is read once for all of them.
const TOGETHER: usize = 16;

/// Share of the mean diagonal that is added to it, as the paper has it.
const DAMPING: f64 = 0.01;

/// `sum x xᵀ` over rows `[rows, width]`, at most `most` of them at equal distances; `[width, width]`.
pub fn hessian(x: &[f32], width: usize, most: usize) -> Vec<f64> {
    let rows = x.len() / width;
    let step = rows.div_ceil(most.max(1)).max(1);
    let mut sums = vec![0.0f32; width * width];
    let chosen: Vec<&[f32]> = x.chunks_exact(width).step_by(step).collect();
    for rows in chosen.chunks(TOGETHER) {
        for at in 0..width {
            // The lower half.
            let sums = &mut sums[at * width..=at * width + at];
            for row in rows.iter().filter(|row| row[at] != 0.0) {
                sums.iter_mut().zip(*row).for_each(|(sum, other)| *sum += row[at] * other);
            }
        }
    }
    let mut out = vec![0.0f64; width * width];
    for row in 0..width {
        for column in 0..=row {
            let value = f64::from(sums[row * width + column]);
            (out[row * width + column], out[column * width + row]) = (value, value);
        }
    }
    out
}

/// The upper triangle U with `H⁻¹ = Uᵀ U`, of a damped H. `None` when H is not a sum of squares.
fn factor(mut h: Vec<f64>, width: usize) -> Option<Vec<f64>> {
    let mean = (0..width).map(|i| h[i * width + i]).sum::<f64>() / width as f64;
    for i in 0..width {
        h[i * width + i] += DAMPING * mean.max(1e-12);
    }
    // H = R Rᵀ with R upper, column by column from the last: the Cholesky factor of H read backwards.
    let mut r = vec![0.0f64; width * width];
    for column in (0..width).rev() {
        for row in (0..=column).rev() {
            let (own, other) = (row * width, column * width);
            let products = r[own + column + 1..own + width].iter().zip(&r[other + column + 1..other + width]);
            let rest = h[own + column] - products.map(|(a, b)| a * b).sum::<f64>();
            if row == column {
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                r[own + column] = rest.sqrt();
            } else {
                r[own + column] = rest / r[other + column];
            }
        }
    }
    // U = R⁻¹, row by row from the last.
    let mut u = vec![0.0f64; width * width];
    for row in (0..width).rev() {
        let inverse = 1.0 / r[row * width + row];
        let (head, below) = u.split_at_mut((row + 1) * width);
        let own = &mut head[row * width..];
        for k in row + 1..width {
            let factor = r[row * width + k];
            if factor != 0.0 {
                let other = &below[(k - row - 1) * width..(k - row) * width];
                own[k..].iter_mut().zip(&other[k..]).for_each(|(own, other)| *own -= factor * other);
            }
        }
        own[row + 1..].iter_mut().for_each(|value| *value *= inverse);
        own[row] = inverse;
    }
    Some(u)
}

/// Rounds `weights` `[rows, width]` to the grids of the groups that `cut` makes of them. Says whether it could; without, nothing
/// changes.
pub fn round(weights: &mut [f32], width: usize, hessian: Vec<f64>, cut: Cut, grids: &[Grid]) -> bool {
    let Some(upper) = factor(hessian, width) else { return false };
    let upper: Vec<f32> = upper.into_iter().map(|value| value as f32).collect();
    for (part, rows) in weights.chunks_mut(TOGETHER * width).enumerate() {
        let first = part * TOGETHER * width;
        for column in 0..width {
            let own = &upper[column * width..(column + 1) * width];
            for (row, weights) in rows.chunks_exact_mut(width).enumerate() {
                let grid = grids[cut.group_of(first + row * width + column)];
                let rounded = grid.round(weights[column], 1.0 / grid.scale()).0;
                let error = (weights[column] - rounded) / own[column];
                weights[column] = rounded;
                weights[column + 1..].iter_mut().zip(&own[column + 1..]).for_each(|(w, u)| *w -= error * u);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 131) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        let (width, x) = (5, numbers(200, 1));
        let h = hessian(&x, width, 1000);
        let upper = factor(h.clone(), width).unwrap();
        let mean = (0..width).map(|i| h[i * width + i]).sum::<f64>() / width as f64;
        for i in 0..width {
            for j in 0..width {
                // (UᵀU) H = 1.
                let value: f64 = (0..width)
                    .map(|k| {
                        let inverse: f64 =
                            (0..width).map(|l| upper[l * width + i] * upper[l * width + k]).sum();
                        let damped = h[k * width + j] + if k == j { DAMPING * mean } else { 0.0 };
                        inverse * damped
                    })
                    .sum();
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-9, "{i} {j}: {value}");
            }
        }
        assert!(factor(vec![-1.0; 4], 2).is_none());
    }

    #[test]
    fn the_layers_output_is_closer_than_after_rounding_alone() {
        let (rows, width) = (6, 24);
        // Channels that go together, so that one can make up for another.
        let basis = numbers(400 * 4, 3);
        let mixing = numbers(4 * width, 5);
        let x: Vec<f32> = basis
            .chunks(4)
            .flat_map(|b| {
                (0..width).map(|c| b.iter().enumerate().map(|(k, b)| b * mixing[k * width + c]).sum::<f32>())
            })
            .collect();
        let weights = numbers(rows * width, 7);
        let grids = vec![Grid::symmetric(4, 7.0 / 3.0); rows];
        let error = |rounded: &[f32]| -> f64 {
            let mut sum = 0.0;
            for x in x.chunks(width) {
                for (a, b) in weights.chunks(width).zip(rounded.chunks(width)) {
                    let d: f32 = a.iter().zip(b).zip(x).map(|((a, b), x)| (a - b) * x).sum();
                    sum += f64::from(d * d);
                }
            }
            sum
        };
        let nearest: Vec<f32> =
            weights.iter().map(|w| (w * 3.0).round_ties_even().clamp(-8.0, 7.0) / 3.0).collect();
        let mut made_up = weights.clone();
        assert!(round(&mut made_up, width, hessian(&x, width, 1000), Cut::whole(width), &grids));
        assert!(error(&made_up) < 0.3 * error(&nearest), "{} {}", error(&made_up), error(&nearest));
        assert!(made_up.iter().all(|w| ((w * 3.0) - (w * 3.0).round()).abs() < 1e-4));
    }
}
