//! `crayon doctor`: what this machine has, what it can do at most, and what would make it faster.

use crayon_hub::Hub;
use crayon_kernels::Threads;
use crayon_kernels::limits::{self, Features, Limits};
use serde::Serialize;
use sysinfo::{Disks, MemoryRefreshKind, RefreshKind, System};

use crate::args::DoctorArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::show;

/// Weights of a file that the estimates are for.
const EXAMPLE: u64 = 1_000_000_000;
/// Of the memory that is free, the share a model's file should take at most: keys, values and other programs need the rest.
const SHARE: f64 = 0.7;

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    processor: Vec<&'static str>,
    variant: &'static str,
    cores: usize,
    threads: usize,
    memory: Memory,
    limit: Ceilings,
    models: Folder,
    /// Setting that forbids the network, if one does.
    offline: Option<&'static str>,
    advice: Vec<String>,
}

/// Bytes of main memory.
#[derive(Serialize)]
struct Memory {
    total: u64,
    available: u64,
}

#[derive(Serialize)]
struct Ceilings {
    bandwidth_gb_s: f64,
    int8_gops: f64,
    f32_gflops: f64,
}

/// A folder and the bytes that are free where it lies.
#[derive(Serialize)]
struct Folder {
    path: String,
    free: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs, output: &Output) -> Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Threads::new(args.threads.map_or(cores, usize::from));
    let Features { processor, variant, .. } = limits::features();
    let system = System::new_with_specifics(
        RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
    );
    let memory = Memory { total: system.total_memory(), available: system.available_memory() };
    let Limits { bandwidth_gb_s, int8_gops, f32_gflops } = limits::measure(&pool);
    let hub = Hub::from_env()?;
    let path = &hub.settings().cache;
    let round = |value: f64| (value * 10.0).round() / 10.0;
    let mut report = Report {
        processor,
        variant,
        cores,
        threads: pool.count(),
        memory,
        limit: Ceilings {
            bandwidth_gb_s: round(bandwidth_gb_s),
            int8_gops: round(int8_gops),
            f32_gflops: round(f32_gflops),
        },
        models: Folder { path: path.display().to_string(), free: free(path) },
        offline: hub.settings().offline,
        advice: Vec::new(),
    };
    report.advice = advice(&report);
    match output.json {
        true => Ok(output.object(&report)?),
        false => print(&report, output),
    }
}

fn print(report: &Report, output: &Output) -> Result {
    let none = "nothing beyond the base set".to_owned();
    let processor = if report.processor.is_empty() { none } else { report.processor.join(" ") };
    let free = report.models.free.map_or_else(|| "unknown".to_owned(), show::bytes);
    let network = match report.offline {
        Some(setting) => format!("forbidden by {setting}"),
        None => "used by pull, serve, --server and --pool with an address, and by nothing else".to_owned(),
    };
    let written = report.limit.bandwidth_gb_s * 1e9 / EXAMPLE as f64;
    for (name, value) in [
        ("processor", processor),
        ("kernels", report.variant.to_owned()),
        ("threads", format!("{} of {}", report.threads, show::counted(report.cores, "core"))),
        (
            "memory",
            format!(
                "{}, {} of it free",
                show::bytes(report.memory.total),
                show::bytes(report.memory.available)
            ),
        ),
        ("reading memory", format!("{:.1} GB/s", report.limit.bandwidth_gb_s)),
        ("int8 products", format!("{:.1} Gop/s", report.limit.int8_gops)),
        ("f32 products", format!("{:.1} Gflop/s", report.limit.f32_gflops)),
        ("models", format!("{}, {free} free there", report.models.path)),
        ("network", network),
        ("at most", format!("{written:.0} tokens a second from a model of {}", show::bytes(EXAMPLE))),
    ] {
        output.line(&format!("{name:<16}{value}"))?;
    }
    for line in &report.advice {
        output.line(&format!("{:<16}{line}", "advice"))?;
    }
    Ok(())
}

/// What would make it faster, or will not work.
fn advice(report: &Report) -> Vec<String> {
    let mut advice = Vec::new();
    if cfg!(debug_assertions) {
        advice.push("this program was built without optimisation: build it with --release".to_owned());
    }
    if report.threads < report.cores {
        advice.push(format!(
            "{} are idle: leave out --threads",
            show::counted(report.cores - report.threads, "core")
        ));
    }
    if matches!(report.variant, "portable" | "avx2") {
        advice.push(
            "a processor with byte dot products (AVX-VNNI, AVX-512 VNNI, dotprod) reads prompts faster"
                .to_owned(),
        );
    }
    let fits = (report.memory.available as f64 * SHARE) as u64;
    advice.push(format!("models of up to {} fit into the memory that is free", show::bytes(fits)));
    if let Some(free) = report.models.free.filter(|free| *free < 2 * EXAMPLE) {
        advice.push(format!(
            "only {} are free for models: set CRAYON_HOME to a larger disk",
            show::bytes(free)
        ));
    }
    advice
}

/// Bytes free on the disk that holds `path`, or is going to.
pub(super) fn free(path: &std::path::Path) -> Option<u64> {
    let there = path.ancestors().find_map(|path| path.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list();
    let holding = disks.iter().filter(|disk| there.starts_with(disk.mount_point()));
    holding.max_by_key(|disk| disk.mount_point().as_os_str().len()).map(|disk| disk.available_space())
}
