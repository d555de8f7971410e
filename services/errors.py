"""Every error a user can meet. Each one knows its HTTP and gRPC status; its message says what to do."""

from typing import ClassVar

import grpc


class AnonFacesError(Exception):
    """Root of all errors raised on purpose. `code` is stable and machine-readable."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    exit_status: ClassVar[int] = 1  # of the command line


# --- what came in -----------------------------------------------------------------------------------------------


class BadRequest(AnonFacesError):
    """The request itself is malformed: an unknown option, no photo part."""

    code = "bad_request"
    http_status = 400
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT


class UnsupportedMediaType(AnonFacesError):
    """The bytes are not one of the accepted image formats."""

    code = "unsupported_media_type"
    http_status = 415
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT


class BadPhoto(AnonFacesError):
    """An accepted format, but the photo cannot be decoded, or is of a kind that is not served (animated)."""

    code = "bad_photo"
    http_status = 422
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT


class PhotoTooLarge(AnonFacesError):
    """More bytes, or more pixels, than the limits allow."""

    code = "photo_too_large"
    http_status = 413
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT


class NoFaceFound(AnonFacesError):
    """No face was found, and the policy is to refuse such photos."""

    code = "no_face_found"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class StrangerRefused(AnonFacesError):
    """A face belongs to nobody enrolled, and the policy is to refuse such photos."""

    code = "stranger_refused"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class FaceRefused(AnonFacesError):
    """A face cannot be replaced, and the policy is to refuse such photos."""

    code = "face_refused"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class TooManyFaces(AnonFacesError):
    """More faces than one request may hold."""

    code = "too_many_faces"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class KNotMet(AnonFacesError):
    """The index that is served does not give the k that was asked for."""

    code = "k_not_met"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class UnknownIdentity(AnonFacesError):
    """A person named in the request is not enrolled, or cannot be told among the faces of the photo."""

    code = "unknown_identity"
    http_status = 422
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class ClientGone(AnonFacesError):
    """The client went away before its photo was finished. Nobody reads this; it counts."""

    code = "cancelled"
    http_status = 400
    grpc_status = grpc.StatusCode.CANCELLED


class NotFound(AnonFacesError):
    """There is no such thing: a path, a crowd."""

    code = "not_found"
    http_status = 404
    grpc_status = grpc.StatusCode.NOT_FOUND


# --- who asks, and how often ------------------------------------------------------------------------------------


class Unauthenticated(AnonFacesError):
    """No API key, or one that is not known."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(AnonFacesError):
    """The API key does not allow this."""

    code = "forbidden"
    http_status = 403
    grpc_status = grpc.StatusCode.PERMISSION_DENIED


class Overloaded(AnonFacesError):
    """More is asked for than is served now; the same request may succeed later.

    Args:
        retry_after_s: seconds after which a try makes sense.
    """

    code = "overloaded"
    http_status = 429
    grpc_status = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after_s: float = 1.0):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Overloaded):
    """The API key asks more often than it may."""

    code = "rate_limited"


# --- what the request needs and does not get --------------------------------------------------------------------


class ModelServerUnavailable(AnonFacesError):
    """Triton cannot be reached, refused the request, or failed in the model."""

    code = "model_server_unavailable"
    http_status = 503
    grpc_status = grpc.StatusCode.UNAVAILABLE


class ShuttingDown(AnonFacesError):
    """The service stops and takes no more; another one may."""

    code = "shutting_down"
    http_status = 503
    grpc_status = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(AnonFacesError):
    """The photo was not finished within its time."""

    code = "deadline_exceeded"
    http_status = 504
    grpc_status = grpc.StatusCode.DEADLINE_EXCEEDED


# --- the operator's side ----------------------------------------------------------------------------------------


class ConfigurationError(AnonFacesError):
    """A setting is wrong, or something the service needs has not been made yet."""

    code = "configuration"


class WeightsError(AnonFacesError):
    """A weight is unknown, cannot be fetched, or is not the file the catalogue names."""

    code = "weights"


class ConversionError(AnonFacesError):
    """A model cannot be converted, or its conversion does not agree with its source."""

    code = "conversion"
    exit_status = 2


class LatentsRefused(AnonFacesError):
    """A file of latents is damaged, or of another generator."""

    code = "latents_refused"
    exit_status = 2


class PartitionError(AnonFacesError):
    """No valid partition exists for this input, or an algorithm returned an invalid one."""

    code = "partition"
    exit_status = 2


class EnrolmentError(AnonFacesError):
    """Photos, identities or arrays cannot be enrolled, or a population is not there."""

    code = "enrolment"
    exit_status = 2


class NobodyEnrolled(EnrolmentError):
    """A population holds nobody: nobody was enrolled, or everybody was removed."""

    code = "nobody_enrolled"


class PopulationBusy(AnonFacesError):
    """Another command is writing to the same population or index."""

    code = "population_busy"


class WorkersLost(AnonFacesError):
    """A cluster's workers died whenever they tried a piece of work."""

    code = "workers_lost"


class IndexRefused(AnonFacesError):
    """A cluster index does not add up: below k, changed, or made for other models."""

    code = "index_refused"
    http_status = 503
    grpc_status = grpc.StatusCode.UNAVAILABLE


class StackError(AnonFacesError):
    """The local stack did not start, or did not stop as it should."""

    code = "stack"


class ReleaseError(AnonFacesError):
    """A release cannot be made, goes on under other terms, or is not what its manifest says."""

    code = "release"
    exit_status = 2


class ReportError(AnonFacesError):
    """A release cannot be reported on: it, its originals or who is in them is not what a report needs."""

    code = "report"
    exit_status = 2


class LoadTestFailed(AnonFacesError):
    """Under load a threshold was crossed, or something grew without end."""

    code = "load_test"
    exit_status = 2
