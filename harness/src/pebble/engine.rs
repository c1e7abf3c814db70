//! What the container source asks of a container engine. Only in builds with the feature
//! `containers`.

use std::path::{Path, PathBuf};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::Docker,
    core::{WaitFor, client::docker_client_instance},
    runners::AsyncRunner,
};

use crate::limits;

use super::{Programs, cache::Cache};

/// What the programs print once they work.
const READY: [&str; 2] = ["ACME directory available at", "Starting management server on"];

/// The programs of the two images. They are started as containers when they are not in the cache
/// yet. The error is a fragment.
pub(super) fn programs(
    images: &[String; 2],
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Programs, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("failed to start an event loop: {error}"))?;
    runtime.block_on(look(images, cache, progress))
}

async fn look(
    images: &[String; 2],
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Programs, String> {
    let engine = docker_client_instance().await.map_err(|error| format!("no container engine: {error}"))?;
    match tokio::time::timeout(limits::ENGINE_ANSWER, engine.ping()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("no container engine answers: {error}")),
        Err(_) => {
            let waited = limits::ENGINE_ANSWER.as_secs();
            return Err(format!("the container engine did not answer within {waited} s"));
        }
    }
    let version = images[0].rsplit_once(':').map(|(_, tag)| tag);
    if let Some(name) = set(&engine, images).await
        && let Some((pebble, challtestsrv)) = cache.whole(&name)
    {
        return Programs::new(pebble, challtestsrv, "container", version);
    }

    let in_cache =
        |error: std::io::Error| format!("failed to use the cache {}: {error}", cache.path().display());
    let locked = cache.lock().map_err(in_cache)?;
    let workspace = locked.workspace().map_err(in_cache)?;
    let mut files = Vec::new();
    for (image, ready) in images.iter().zip(READY) {
        progress(&format!("starting {image} as a container, to take its program"));
        let file = workspace.path().join(files.len().to_string());
        take(&engine, image, ready, &file).await.map_err(|why| format!("image {image}: {why}"))?;
        files.push(file);
    }
    let name = set(&engine, images).await.ok_or("the engine no longer knows the images it has just run")?;
    let (pebble, challtestsrv) =
        locked.keep(&name, workspace.path(), &files[0], &files[1]).map_err(in_cache)?;
    Programs::new(pebble, challtestsrv, "container", version)
}

/// The cache's name for what these two images hold now; `None` where the engine lacks one.
async fn set(engine: &Docker, images: &[String; 2]) -> Option<String> {
    let mut name = "pebble-image".to_owned();
    for image in images {
        let id = engine.inspect_image(image).await.ok()?.id?;
        let hex = id.rsplit(':').next().unwrap_or_default();
        name += &format!("-{}", hex.get(..16).unwrap_or(hex));
    }
    Some(name)
}

/// Starts the image, waits until its program works, and copies that to `file`.
async fn take(engine: &Docker, image: &str, ready: &str, file: &Path) -> Result<(), String> {
    // The tag is what comes after the last colon, unless that is a registry's port.
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    };
    let container = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_either_std(ready))
        .with_startup_timeout(limits::CONTAINER_START)
        .start()
        .await
        .map_err(|error| format!("did not start: {error}"))?;
    let taken = copy(engine, &container, file).await;
    // Removed also when nothing could be taken; the first error is the one to tell.
    let removed = container.rm().await.map_err(|error| format!("its container cannot be removed: {error}"));
    taken.and(removed)
}

async fn copy(engine: &Docker, container: &ContainerAsync<GenericImage>, file: &Path) -> Result<(), String> {
    let details = engine.inspect_container(container.id(), None).await;
    let details = details.map_err(|error| format!("cannot be inspected: {error}"))?;
    let program = details.path.filter(|path| path.starts_with('/'));
    let program = program.ok_or("does not say which program it runs")?;
    let copied = container.copy_file_from(&program, PathBuf::from(file)).await;
    copied.map(drop).map_err(|error| format!("{program} cannot be copied out: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::pebble::{
        find::{Outcome, Source},
        option::Named,
        package::Package,
        path::SearchPath,
    };

    /// Images made from the local programs; removed with the value.
    struct Images([String; 2]);

    impl Drop for Images {
        fn drop(&mut self) {
            let _ = Command::new("docker").args(["image", "rm", "--force"]).args(&self.0).output();
        }
    }

    fn docker(arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("docker").args(arguments).env("DOCKER_BUILDKIT", "0").output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Any local Pebble.
    fn local() -> Option<Programs> {
        let sources: [&dyn Source; 3] = [&Named::new(None), &SearchPath, &Package::new()];
        sources.iter().find_map(|source| match source.find(&mut |_| {}) {
            Outcome::Found(programs) => Some(programs),
            Outcome::Not(_) | Outcome::Wrong(_) => None,
        })
    }

    /// As the official images are: `FROM scratch`, the program as `/app`, its configuration under
    /// `/test`; and the libraries of the program where it has any.
    fn build(program: &Path, tag: &str) {
        let context = tempfile::tempdir().unwrap();
        let root = context.path().join("root");
        let config = root.join("test/config");
        fs::create_dir_all(&config).unwrap();
        fs::copy(program, root.join("app")).unwrap();
        let libraries = Command::new("ldd").arg(program).output().unwrap().stdout;
        for word in String::from_utf8_lossy(&libraries).split_whitespace().filter(|w| w.starts_with('/')) {
            let to = root.join(word.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(word, to).unwrap();
        }
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(config.join("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(config.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
            "certificate": "test/config/cert.pem", "privateKey": "test/config/key.pem",
            "httpPort": 5002, "tlsPort": 5001,
        }});
        fs::write(config.join("pebble-config.json"), settings.to_string()).unwrap();
        let recipe = "FROM scratch\nCOPY root/ /\nENTRYPOINT [\"/app\"]\n";
        fs::write(context.path().join("Dockerfile"), recipe).unwrap();
        docker(&["build", "--quiet", "--tag", tag, &context.path().display().to_string()]).unwrap();
    }

    #[test]
    fn the_programs_of_images_that_work_as_containers_are_taken_out_of_them() {
        let skip = |why: &str| {
            eprintln!("SKIPPED the_programs_of_images_that_work_as_containers_are_taken_out_of_them: {why}");
        };
        if let Err(why) = docker(&["version", "--format", "{{.Server.Version}}"]) {
            return skip(&format!("no container engine answers: {why}"));
        }
        let Some(local) = local() else { return skip("no local Pebble to make an image from") };
        let tag = std::process::id();
        let images = Images(["pebble", "challtestsrv"].map(|name| format!("roulette-test/{name}:0.{tag}")));
        build(&local.pebble, &images.0[0]);
        build(&local.challtestsrv, &images.0[1]);

        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::in_folder(folder.path());
        let start = std::time::Instant::now();
        let mut said = Vec::new();
        let found = programs(&images.0, &cache, &mut |line| said.push(line.to_owned())).unwrap();
        eprintln!("started and taken in {:?}", start.elapsed());
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(found.record.source, "container");
        assert_eq!(fs::read(&found.pebble).unwrap(), fs::read(&local.pebble).unwrap());
        assert_eq!(fs::read(&found.challtestsrv).unwrap(), fs::read(&local.challtestsrv).unwrap());

        let start = std::time::Instant::now();
        said.clear();
        assert_eq!(programs(&images.0, &cache, &mut |line| said.push(line.to_owned())).unwrap(), found);
        assert!(said.is_empty(), "{said:?}");
        eprintln!("used again in {:?}", start.elapsed());

        for image in &images.0 {
            let left = docker(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={image}")]).unwrap();
            assert_eq!(left, "", "a container of {image} was left behind");
        }

        let broken = ["roulette-test/none:0".to_owned(), images.0[1].clone()];
        let why =
            programs(&broken, &Cache::in_folder(&folder.path().join("other")), &mut |_| {}).unwrap_err();
        assert!(why.contains("image roulette-test/none:0"), "{why}");
        eprintln!("an image that is not there: {why}");
    }
}
