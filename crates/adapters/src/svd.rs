//! The nearest product of lower rank, from the factors alone: the large matrix `B A` is never made.
//!
//! By hand: it works on the factors, and a library of linear algebra for one small matrix would double what is compiled.
//!
//! `B = Q S` and `A^T = P T` by Householder reflections, then the singular values of the small `S T^T` by one-sided
//! Jacobi rotations. Costs `O((in + out) rank^2 + rank^3)`.

/// A matrix in columns, f64.
struct Columns {
    rows: usize,
    columns: Vec<Vec<f64>>,
}

/// `[rank, in]` and `[out, rank]` of at most `keep` inner values whose product is nearest to that of `a` `[inner, in]` and
/// `b` `[out, inner]` in the sum of squares (Eckart and Young 1936).
pub(crate) fn truncate(
    a: &[f32],
    b: &[f32],
    inner: usize,
    input: usize,
    output: usize,
    keep: usize,
) -> (Vec<f32>, Vec<f32>) {
    let column = |values: &mut dyn Iterator<Item = f32>| values.map(f64::from).collect::<Vec<f64>>();
    let b_columns = (0..inner).map(|k| column(&mut b.iter().skip(k).step_by(inner).copied())).collect();
    let a_columns = a.chunks_exact(input).map(|row| column(&mut row.iter().copied())).collect();
    let (q, s) = Reflected::factor(Columns { rows: output, columns: b_columns });
    let (p, t) = Reflected::factor(Columns { rows: input, columns: a_columns });

    // core = S T^T, [rows of S, rows of T], as columns.
    let mut core = vec![vec![0.0; s.rows]; t.rows];
    for (s, t) in s.columns.iter().zip(&t.columns) {
        for (column, t) in core.iter_mut().zip(t) {
            for (value, s) in column.iter_mut().zip(s) {
                *value += s * t;
            }
        }
    }
    let (left, right) = jacobi(core, t.rows);
    let mut order: Vec<(usize, f64)> =
        left.iter().map(|column| dot(column, column).sqrt()).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(keep);

    let rank = order.len();
    let (mut new_a, mut new_b) = (Vec::with_capacity(rank * input), vec![0.0f32; output * rank]);
    for (k, &(at, value)) in order.iter().enumerate() {
        // Both factors get the root of the singular value, so that neither outgrows the other.
        let root = value.sqrt();
        let unit = if value > 0.0 { root / value } else { 0.0 };
        let up = q.expand(&left[at], output);
        for (row, value) in up.iter().enumerate() {
            new_b[row * rank + k] = (value * unit) as f32;
        }
        let down = p.expand(&right[at], input);
        new_a.extend(down.iter().map(|value| (value * root) as f32));
    }
    (new_a, new_b)
}

/// Eight sums side by side: one alone would wait for itself at every step.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// An orthogonal matrix as the reflections that make it.
struct Reflected(Vec<Vec<f64>>);

impl Reflected {
    /// `matrix = Q R`; R comes back as `[min(rows, columns), columns]`.
    fn factor(mut matrix: Columns) -> (Reflected, Columns) {
        let steps = matrix.rows.min(matrix.columns.len());
        let mut reflections = Vec::with_capacity(steps);
        for step in 0..steps {
            let mut v: Vec<f64> = matrix.columns[step][step..].to_vec();
            let norm = dot(&v, &v).sqrt();
            if norm > 0.0 {
                v[0] += if v[0] < 0.0 { -norm } else { norm };
                let length = dot(&v, &v).sqrt();
                v.iter_mut().for_each(|value| *value /= length);
                for column in &mut matrix.columns[step..] {
                    reflect(&v, &mut column[step..]);
                }
            } else {
                v.fill(0.0);
            }
            reflections.push(v);
        }
        for column in &mut matrix.columns {
            column.truncate(steps);
        }
        (Reflected(reflections), Columns { rows: steps, columns: matrix.columns })
    }

    /// `Q x` for `x` in the small space.
    fn expand(&self, x: &[f64], rows: usize) -> Vec<f64> {
        let mut out = x.to_vec();
        out.resize(rows, 0.0);
        for (step, v) in self.0.iter().enumerate().rev() {
            reflect(v, &mut out[step..]);
        }
        out
    }
}

/// `x - 2 v (v . x)`.
fn reflect(v: &[f64], x: &mut [f64]) {
    let factor = 2.0 * dot(v, x);
    for (x, v) in x.iter_mut().zip(v) {
        *x -= factor * v;
    }
}

/// Rotates the columns of `work` against each other until they are orthogonal (Hestenes 1958): returns `U Sigma` and `V` as
/// columns, `work = U Sigma V^T`.
fn jacobi(mut work: Vec<Vec<f64>>, count: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    const SWEEPS: usize = 40;
    let mut right: Vec<Vec<f64>> =
        (0..count).map(|i| (0..count).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..count {
            for q in p + 1..count {
                let (alpha, beta, gamma) =
                    (dot(&work[p], &work[p]), dot(&work[q], &work[q]), dot(&work[p], &work[q]));
                // A column far below f32's resolution of the other is left alone.
                if gamma.abs() <= 1e-13 * (alpha * beta).sqrt() || gamma == 0.0 {
                    continue;
                }
                turned = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                rotate(&mut work, p, q, c, c * t);
                rotate(&mut right, p, q, c, c * t);
            }
        }
        if !turned {
            break;
        }
    }
    (work, right)
}

fn rotate(columns: &mut [Vec<f64>], p: usize, q: usize, c: f64, s: f64) {
    let (before, after) = columns.split_at_mut(q);
    for (x, y) in before[p].iter_mut().zip(&mut after[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn random(count: usize, random: &mut Random) -> Vec<f32> {
        (0..count).map(|_| (random.uniform() * 2.0 - 1.0) as f32).collect()
    }

    fn product(a: &[f32], b: &[f32], rank: usize, input: usize) -> Vec<f64> {
        let mut out = Vec::new();
        for row in b.chunks_exact(rank) {
            for i in 0..input {
                out.push((0..rank).map(|k| f64::from(row[k]) * f64::from(a[k * input + i])).sum());
            }
        }
        out
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn nothing_is_lost_when_the_rank_suffices() {
        let mut source = Random::new(3, 0);
        // More inner values than outputs, as a small model has them.
        for (inner, input, output) in [(6, 20, 16), (12, 20, 5), (12, 5, 20)] {
            let (a, b) = (random(inner * input, &mut source), random(output * inner, &mut source));
            let keep = inner.min(input).min(output);
            let (new_a, new_b) = truncate(&a, &b, inner, input, output, keep);
            let (whole, again) = (product(&a, &b, inner, input), product(&new_a, &new_b, keep, input));
            assert!(distance(&whole, &again) < 1e-4, "{}", distance(&whole, &again));
        }
    }

    #[test]
    fn what_is_cut_is_the_smallest_part() {
        // A sum of two products: one of rank 2, and a small one that has to go.
        let mut source = Random::new(5, 0);
        let (input, output) = (24, 18);
        let (a, mut b) = (random(3 * input, &mut source), random(output * 3, &mut source));
        for row in b.chunks_exact_mut(3) {
            row[2] *= 1e-3;
        }
        let (new_a, new_b) = truncate(&a, &b, 3, input, output, 2);
        let cut = distance(&product(&a, &b, 3, input), &product(&new_a, &new_b, 2, input));
        let without: Vec<f32> = b.chunks_exact(3).flat_map(|row| [row[0], row[1]]).collect();
        let naive = distance(&product(&a, &b, 3, input), &product(&a[..2 * input], &without, 2, input));
        assert!(cut <= naive * 1.0001 && cut > 0.0, "{cut} {naive}");
    }

    #[test]
    fn equal_and_empty_factors_do_no_harm() {
        let (input, output) = (8, 6);
        let a = [vec![1.0; input], vec![1.0; input]].concat();
        let (new_a, new_b) = truncate(&a, &vec![0.5; output * 2], 2, input, output, 1);
        assert!(product(&new_a, &new_b, 1, input).iter().all(|value| (value - 1.0).abs() < 1e-5));
        let (new_a, new_b) = truncate(&a, &vec![0.0; output * 2], 2, input, output, 1);
        assert!(product(&new_a, &new_b, 1, input).iter().all(|value| *value == 0.0));
    }
}
