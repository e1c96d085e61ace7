//! `images`: an index of pictures, and searches in it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as Group, Subcommand};

use super::embed::ClipRunArgs;

#[derive(Debug, Group)]
pub(crate) struct ImagesArgs {
    #[command(subcommand)]
    pub(crate) what: ImagesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Make an index of a folder's pictures, or bring it up to date
    #[command(after_help = "\
JPEG, PNG, WebP, GIF (the first frame), BMP and TIFF are read. What was read once is not read again: a second run looks at size and
time of each file, then at its contents; files that moved are recognised, and those that are gone leave the index. Ctrl-C keeps what is
done, and the same command goes on. Others can search meanwhile.

Examples:
  crayon images index ~/Pictures -o pictures.index
  crayon images index ~/Pictures -o pictures.index -m clip-vit-base-patch32")]
    Index(IndexArgs),
    /// Take over vectors that clip-retrieval made
    #[command(after_help = "\
FOLDER is what `clip-retrieval inference` wrote: img_emb/img_emb_N.npy with metadata/metadata_N.parquet beside it. The model must be the one that
made the vectors: their width must fit, and some of the pictures that are here are embedded and compared. Pictures that are not here keep
their address or path. Captions are shown, and --keyword finds their words.

Example:
  crayon images import embeddings -o pictures.index -m clip-vit-base-patch32 --pictures ~/Pictures")]
    Import(ImportArgs),
    /// Keep an index up to date while files change, until Ctrl-C
    #[command(after_help = "Example:\n  crayon images watch ~/Pictures -o pictures.index")]
    Watch(IndexArgs),
    /// Find pictures in an index
    #[command(after_help = "\
In a prompt, (word:1.5) gives a word more weight, (word:0.5) less, (word) 1.1, ((word)) 1.21, [word] 1/1.1; brackets may hold a phrase and
stand in each other. \\( and \\) are brackets of the text. -word and -(a phrase) are what a picture should not show.

Results end where pictures have no more to do with the words than with words without sense; --min-score ends them at a cosine, --all
nowhere. A picture with a keyword (EXIF, IPTC, XMP) that is the prompt itself comes first.

Examples:
  crayon images search pictures.index \"a (red:2) heart\"
  crayon images search pictures.index \"a beach -people\" --after 2021 --before 2022-07
  crayon images search pictures.index --like holiday.jpg -k 20 --html similar.html
  crayon images search pictures.index \"at (night:1.5)\" --like holiday.jpg
  crayon images search --index qdrant://localhost:6334/pictures -m clip-vit-base-patch32 \"a (red:2) heart\"")]
    Search(SearchArgs),
    /// Sort pictures into classes that are named
    #[command(after_help = "\
A class is the mean of its texts; each text holds the class's name in the place of {}. With --weights, texts and weights of words are those
that `crayon images learn` learned.

Examples:
  crayon images classify holiday/*.jpg --class beach --class mountain --class city
  crayon images classify pictures --labelled                   a folder for each class: how many are right
  crayon images classify pictures --weights pets.json")]
    Classify(ClassifyArgs),
    /// Learn from a few pictures of each class which words matter
    #[cfg(feature = "train")]
    #[command(after_help = "\
FOLDER has a folder of pictures for each class, called like the class. Each word of each class gets a weight inside the attention of the
tower of texts, which itself stays as it is; what is learned can be read: the words with their weights. Pictures that are left out of
learning in turn judge them: weights are taken as far as they help, and not at all where they do not.

Examples:
  crayon images learn pets --shots 8 -o pets.json
  crayon images learn pets --shots 4 --test pets-test --compare          beside other ways to use the same pictures
  crayon images learn pets --descriptions pets-described.json --html pets.html -o pets.json")]
    Learn(LearnArgs),
}

/// Which model of texts and pictures.
#[derive(Clone, Debug, Group)]
pub(crate) struct ImagesModelArgs {
    /// A model of texts and pictures: a built-in name, a folder of CLIP or SigLIP, a .safetensors file of OpenAI's or OpenCLIP's, or
    /// org/name of a pulled model [default: the one that made the index, else mini-clip]
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) run: ClipRunArgs,
}

#[derive(Debug, Group)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) clip: ImagesModelArgs,
    /// The folder; folders in it are walked too
    pub(crate) folder: PathBuf,
    /// The index's file; made if it is not there
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) output: PathBuf,
    /// Files and folders whose names begin with a dot, too
    #[arg(long)]
    pub(crate) hidden: bool,
    /// Let a folder that holds no picture any more empty its part of the index
    #[arg(long)]
    pub(crate) allow_empty: bool,
    #[command(flatten)]
    pub(crate) beside: BesideArgs,
}

/// What is kept up to date beside the index.
#[derive(Clone, Debug, Group)]
pub(crate) struct BesideArgs {
    /// Make a graph beside the index, too, for `search --approximate`
    #[arg(long)]
    pub(crate) approximate: bool,
    /// Bring the vectors to a collection of a Qdrant server, too: qdrant://HOST:PORT/COLLECTION, or qdrants:// for a safe connection; paths,
    /// dates and keywords go with them. Its key comes from QDRANT_API_KEY
    #[arg(long = "index", value_name = "ADDRESS")]
    pub(crate) remote: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) clip: ImagesModelArgs,
    /// The folder with img_emb and metadata in it
    pub(crate) folder: PathBuf,
    /// The index's file; made if it is not there
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) output: PathBuf,
    /// Where paths that are not absolute begin [default: FOLDER]
    #[arg(long, value_name = "DIR")]
    pub(crate) pictures: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) beside: BesideArgs,
}

#[derive(Debug, Group)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) clip: ImagesModelArgs,
    /// The index's file, unless --index names a server
    #[arg(required_unless_present = "remote")]
    pub(crate) index: Option<PathBuf>,
    /// What the picture shows
    pub(crate) prompt: Vec<String>,
    /// Search in a collection of a Qdrant server: qdrant://HOST:PORT/COLLECTION, or qdrants:// for a safe connection. Its key comes from
    /// QDRANT_API_KEY
    #[arg(long = "index", value_name = "ADDRESS", conflicts_with = "approximate")]
    pub(crate) remote: Option<String>,
    /// Look at a few pictures instead of all, through the graph that `index --approximate` made; some results may be missed
    #[arg(long, conflicts_with_all = ["after", "before", "folder", "keyword"])]
    pub(crate) approximate: bool,
    /// Most results
    #[arg(short = 'k', long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
    /// More weight to a word or a phrase of the prompt, or less; may be given several times
    #[arg(short, long, value_name = "WORD=W")]
    pub(crate) weight: Vec<WordWeight>,
    /// Pictures like this one, in the index or not
    #[arg(long, value_name = "FILE")]
    pub(crate) like: Option<PathBuf>,
    /// Only pictures with this cosine or a larger one, instead of the measured cut-off
    #[arg(long, value_name = "S", conflicts_with = "all", allow_negative_numbers = true)]
    pub(crate) min_score: Option<f32>,
    /// As many pictures as there are, fitting or not
    #[arg(long)]
    pub(crate) all: bool,
    /// Only pictures taken (or else changed) then or later: 2021, 2021-07, 2021-07-14
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) after: Option<String>,
    /// Only pictures taken before then
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) before: Option<String>,
    /// Only pictures in this folder or below
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Only pictures with this keyword; may be given several times
    #[arg(long, value_name = "WORD")]
    pub(crate) keyword: Vec<String>,
    /// Near-duplicates as results of their own
    #[arg(long)]
    pub(crate) duplicates: bool,
    /// Write a page with the pictures
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Which texts stand for classes.
#[derive(Clone, Debug, Group)]
#[command(next_help_heading = "Classes")]
pub(crate) struct ClassTextArgs {
    /// A text for every class, with {} for its name; may be given several times [default: a photo of a {}, a picture of a {}, a {}]
    #[arg(long, value_name = "TEXT")]
    pub(crate) template: Vec<String>,
    /// Written descriptions of classes, as JSON: {"cat": ["a cat has whiskers", ...], ...}; beside the templates
    #[arg(long, value_name = "FILE")]
    pub(crate) descriptions: Option<PathBuf>,
    /// Descriptions of each class that are read
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) described: u16,
}

#[derive(Debug, Group)]
pub(crate) struct ClassifyArgs {
    #[command(flatten)]
    pub(crate) clip: ImagesModelArgs,
    /// Pictures, or folders of them
    #[arg(required = true)]
    pub(crate) pictures: Vec<PathBuf>,
    /// A class; may be given several times
    #[arg(long = "class", value_name = "NAME", conflicts_with = "weights")]
    pub(crate) classes: Vec<String>,
    /// Classes with learned weights
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// The folder holds a folder for each class: say how many are right
    #[arg(long)]
    pub(crate) labelled: bool,
    #[command(flatten)]
    pub(crate) texts: ClassTextArgs,
}

#[cfg(feature = "train")]
#[derive(Debug, Group)]
pub(crate) struct LearnArgs {
    #[command(flatten)]
    pub(crate) clip: ImagesModelArgs,
    /// A folder with a folder of pictures for each class
    pub(crate) folder: PathBuf,
    /// Pictures of each class, taken by chance
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shots: u16,
    /// Write classes and weights into this file, for `classify --weights`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Pictures to judge by, in folders of the same names
    #[arg(long, value_name = "DIR")]
    pub(crate) test: Option<PathBuf>,
    /// Also measure TaskRes, Tip-Adapter, a learned context and a linear probe on the same pictures
    #[arg(long, requires = "test")]
    pub(crate) compare: bool,
    /// Choices of pictures by chance that are measured; the first is what is written
    #[arg(long, value_name = "N", default_value_t = 1, requires = "test", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) seeds: u16,
    /// The first choice
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps, each over all pictures
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) steps: u32,
    /// Learning rate
    #[arg(long, value_name = "R", default_value_t = 0.01)]
    pub(crate) rate: f64,
    /// How much weights are drawn to 1
    #[arg(long, value_name = "D", default_value_t = 0.01)]
    pub(crate) decay: f64,
    /// Take the weights as they were learned, without judging them by pictures left out of learning
    #[arg(long)]
    pub(crate) force: bool,
    /// Write a page with the words and their weights
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) texts: ClassTextArgs,
}

/// A word and its weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WordWeight {
    pub(crate) word: String,
    pub(crate) weight: f32,
}

impl FromStr for WordWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<WordWeight, String> {
        let (word, weight) = text.rsplit_once('=').ok_or("write it as word=1.5")?;
        let weight = weight.trim().parse().map_err(|_| format!("{weight:?} is not a number"))?;
        Ok(WordWeight { word: word.trim().to_owned(), weight })
    }
}

/// A year, a month or a day.
fn date(text: &str) -> Result<String, String> {
    let mut parts = text.split('-');
    let part = |part: Option<&str>, len: usize, most: u32| match part {
        None => Ok(()),
        Some(part) => match part.parse::<u32>() {
            Ok(number) if part.len() == len && (1..=most).contains(&number) => Ok(()),
            _ => Err(format!("{text:?} is not a date such as 2021, 2021-07 or 2021-07-14")),
        },
    };
    part(parts.next(), 4, 9999)?;
    part(parts.next(), 2, 12)?;
    part(parts.next(), 2, 31)?;
    match parts.next() {
        None => Ok(text.to_owned()),
        Some(_) => Err(format!("{text:?} is not a date such as 2021, 2021-07 or 2021-07-14")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_weights_and_dates() {
        let parsed = |text: &str| text.parse::<WordWeight>().ok().map(|found| (found.word, found.weight));
        assert_eq!(parsed("red=1.5"), Some(("red".to_owned(), 1.5)));
        assert_eq!(parsed("a red = 2"), Some(("a red".to_owned(), 2.0)));
        assert!(parsed("red").is_none() && parsed("red=x").is_none());
        assert!(["2021", "2021-07", "2021-07-14"].iter().all(|text| date(text).is_ok()));
        assert!(
            ["21", "2021-7", "2021-13", "2021-07-14-1", "July", ""].iter().all(|text| date(text).is_err())
        );
    }
}
