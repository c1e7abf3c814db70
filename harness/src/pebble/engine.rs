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
