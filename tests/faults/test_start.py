"""What cannot be served is not started, and what was started leaves nothing behind."""

import shutil

import psutil
import pytest

from deploy.local.stack import LocalStack, Service
from deploy.local.triton import LocalTriton
from services import serve
from services.errors import ConfigurationError, ConversionError, IndexRefused, StackError


def test_service_does_not_start_without_an_index(settings, tmp_path):
    nowhere = settings.model_copy(update={"index": str(tmp_path / "none")})
    with pytest.raises(IndexRefused, match="anonfaces population build"):
        LocalStack(nowhere).start()


def test_port_that_is_taken_is_named_before_anything_starts(settings, stack):
    with pytest.raises(ConfigurationError, match=f"{stack.service.port}.*ANONFACES_PORT"):
        LocalStack(settings, port=stack.service.port).start()


def test_service_process_itself_refuses_a_tampered_index(settings, index, stack, tmp_path, monkeypatch):
    """The launcher's own check is passed by: what counts is that the service does."""
    shutil.copytree(settings.index_path, tmp_path / "demo", symlinks=True)
    crowds = bytearray((tmp_path / "demo" / "current" / "crowds.npz").read_bytes())
    tampered = settings.model_copy(update={"index": f"{tmp_path}/demo"})
    service = Service(tampered, stack.triton.url, tmp_path / "run")
    crowds[len(crowds) // 2] ^= 1
    monkeypatch.setattr(serve, "check", lambda settings: None)
    (tmp_path / "demo" / "current" / "crowds.npz").write_bytes(crowds)
    with pytest.raises(StackError, match="was changed"):
        service.start(timeout_s=20)


def test_changed_model_is_not_served(settings, tmp_path):
    name = "centerface-192"
    shutil.copytree(settings.model_repository / name, tmp_path / name)
    model = tmp_path / name / "1" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(ConversionError, match="SHA-256"):
        LocalTriton(tmp_path, [name], tmp_path / "run").start()


def test_stack_leaves_no_process_and_no_shared_memory(settings, index, tmp_path):
    triton = LocalTriton(settings.model_repository, ["centerface-192"], tmp_path).start()
    family = triton.server.descendants()
    assert len(family) > 1
    assert triton.stop() == 0
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    from deploy.local.triton import SHARED_MEMORY

    assert not list(SHARED_MEMORY.glob(f"{triton.region}*"))
