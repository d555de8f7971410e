from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnonymizeRequest(_message.Message):
    __slots__ = ("photo", "options")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    options: Options
    def __init__(self, photo: _Optional[bytes] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class AnonymizeResponse(_message.Message):
    __slots__ = ("photo", "finished")
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    finished: Finished
    def __init__(self, photo: _Optional[bytes] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("id", "photo", "options")
    ID_FIELD_NUMBER: _ClassVar[int]
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    photo: bytes
    options: Options
    def __init__(self, id: _Optional[str] = ..., photo: _Optional[bytes] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class FrameResult(_message.Message):
    __slots__ = ("id", "done", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    done: AnonymizeResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., done: _Optional[_Union[AnonymizeResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("photo",)
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    photo: bytes
    def __init__(self, photo: _Optional[bytes] = ...) -> None: ...

class SurrogateRequest(_message.Message):
    __slots__ = ("crowd", "options")
    CROWD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    crowd: int
    options: SurrogateOptions
    def __init__(self, crowd: _Optional[int] = ..., options: _Optional[_Union[SurrogateOptions, _Mapping]] = ...) -> None: ...

class SurrogateResponse(_message.Message):
    __slots__ = ("picture", "media_type", "served")
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    picture: bytes
    media_type: str
    served: Served
    def __init__(self, picture: _Optional[bytes] = ..., media_type: _Optional[str] = ..., served: _Optional[_Union[Served, _Mapping]] = ...) -> None: ...

class IndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SurrogateOptions(_message.Message):
    __slots__ = ("generator", "format", "quality", "emotion")
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    EMOTION_FIELD_NUMBER: _ClassVar[int]
    generator: str
    format: str
    quality: int
    emotion: str
    def __init__(self, generator: _Optional[str] = ..., format: _Optional[str] = ..., quality: _Optional[int] = ..., emotion: _Optional[str] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("generator", "format", "quality", "emotion", "k", "no_face", "small_face", "stranger", "identity")
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    EMOTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    NO_FACE_FIELD_NUMBER: _ClassVar[int]
    SMALL_FACE_FIELD_NUMBER: _ClassVar[int]
    STRANGER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    generator: str
    format: str
    quality: int
    emotion: str
    k: int
    no_face: str
    small_face: str
    stranger: str
    identity: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generator: _Optional[str] = ..., format: _Optional[str] = ..., quality: _Optional[int] = ..., emotion: _Optional[str] = ..., k: _Optional[int] = ..., no_face: _Optional[str] = ..., small_face: _Optional[str] = ..., stranger: _Optional[str] = ..., identity: _Optional[_Iterable[str]] = ...) -> None: ...

class Served(_message.Message):
    __slots__ = ("index_version", "resolution", "k")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    index_version: str
    resolution: str
    k: int
    def __init__(self, index_version: _Optional[str] = ..., resolution: _Optional[str] = ..., k: _Optional[int] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("index_version", "resolution", "k", "media_type", "faces", "enrolled", "strangers", "masked", "emotion", "generator")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    STRANGERS_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    EMOTION_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    index_version: str
    resolution: str
    k: int
    media_type: str
    faces: int
    enrolled: int
    strangers: int
    masked: int
    emotion: str
    generator: str
    def __init__(self, index_version: _Optional[str] = ..., resolution: _Optional[str] = ..., k: _Optional[int] = ..., media_type: _Optional[str] = ..., faces: _Optional[int] = ..., enrolled: _Optional[int] = ..., strangers: _Optional[int] = ..., masked: _Optional[int] = ..., emotion: _Optional[str] = ..., generator: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("error", "message")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    error: str
    message: str
    def __init__(self, error: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class FaceSeen(_message.Message):
    __slots__ = ("box", "landmarks", "score", "masked", "crowd", "crowd_size", "distance", "enrolled")
    BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    CROWD_FIELD_NUMBER: _ClassVar[int]
    CROWD_SIZE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    box: _containers.RepeatedScalarFieldContainer[float]
    landmarks: _containers.RepeatedCompositeFieldContainer[Point]
    score: float
    masked: str
    crowd: int
    crowd_size: int
    distance: float
    enrolled: bool
    def __init__(self, box: _Optional[_Iterable[float]] = ..., landmarks: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., score: _Optional[float] = ..., masked: _Optional[str] = ..., crowd: _Optional[int] = ..., crowd_size: _Optional[int] = ..., distance: _Optional[float] = ..., enrolled: _Optional[bool] = ...) -> None: ...

class Inspection(_message.Message):
    __slots__ = ("index_version", "resolution", "k", "width", "height", "faces")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    index_version: str
    resolution: str
    k: int
    width: int
    height: int
    faces: _containers.RepeatedCompositeFieldContainer[FaceSeen]
    def __init__(self, index_version: _Optional[str] = ..., resolution: _Optional[str] = ..., k: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[FaceSeen, _Mapping]]] = ...) -> None: ...

class ModelNames(_message.Message):
    __slots__ = ("detector", "embedder", "aligner", "generator")
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    ALIGNER_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    detector: str
    embedder: str
    aligner: str
    generator: str
    def __init__(self, detector: _Optional[str] = ..., embedder: _Optional[str] = ..., aligner: _Optional[str] = ..., generator: _Optional[str] = ...) -> None: ...

class IndexAnswer(_message.Message):
    __slots__ = ("index_version", "resolution", "k", "name", "crowds", "index_k", "smallest_crowd", "largest_crowd", "models", "generators", "emotions")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CROWDS_FIELD_NUMBER: _ClassVar[int]
    INDEX_K_FIELD_NUMBER: _ClassVar[int]
    SMALLEST_CROWD_FIELD_NUMBER: _ClassVar[int]
    LARGEST_CROWD_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    GENERATORS_FIELD_NUMBER: _ClassVar[int]
    EMOTIONS_FIELD_NUMBER: _ClassVar[int]
    index_version: str
    resolution: str
    k: int
    name: str
    crowds: int
    index_k: int
    smallest_crowd: int
    largest_crowd: int
    models: ModelNames
    generators: _containers.RepeatedScalarFieldContainer[str]
    emotions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, index_version: _Optional[str] = ..., resolution: _Optional[str] = ..., k: _Optional[int] = ..., name: _Optional[str] = ..., crowds: _Optional[int] = ..., index_k: _Optional[int] = ..., smallest_crowd: _Optional[int] = ..., largest_crowd: _Optional[int] = ..., models: _Optional[_Union[ModelNames, _Mapping]] = ..., generators: _Optional[_Iterable[str]] = ..., emotions: _Optional[_Iterable[str]] = ...) -> None: ...
