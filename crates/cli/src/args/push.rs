//! `push`.

use std::path::PathBuf;

use clap::Args as Group;

#[derive(Debug, Group)]
#[command(after_help = "\
The server is vLLM (with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True) or SGLang (with --enable-lora), and runs the model that the
adapter was made for. It is told a name and the folder's path, and reads the files itself; examples are not sent. After that a request there with
the name as its `model` is answered through the adapter.

Examples:
  crayon customize -m Qwen/Qwen2.5-0.5B-Instruct --examples mine.jsonl -o mine
  crayon push mine --server http://127.0.0.1:8000/v1
  crayon push mine --server https://gpu.example/v1 --path /adapters/mine --name anna --replace
  crayon push mine --server https://gpu.example/v1 --name anna --remove")]
pub(crate) struct PushArgs {
    /// The adapter: a folder that `customize` wrote, or any PEFT folder
    #[arg(value_name = "ADAPTER")]
    pub(crate) adapter: PathBuf,
    /// The server: its address up to /v1. Its key comes from CRAYON_SERVER_KEY
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// What the adapter is called there [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where the server finds the folder on its own disks [default: where it is here, for a server on this device]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Take the place of an adapter of this name
    #[arg(long)]
    pub(crate) replace: bool,
    /// Have the server forget the adapter instead
    #[arg(long, conflicts_with_all = ["replace", "path"])]
    pub(crate) remove: bool,
    /// A file that holds the server's key
    #[arg(long, value_name = "FILE")]
    pub(crate) server_key_file: Option<PathBuf>,
    /// Seconds that the server may take, failed tries included
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) server_timeout: u32,
}
