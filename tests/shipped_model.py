"""The compiled form of `policies/model.conf`, for every test that needs a role model."""

from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.shipped import shipped


def _compiled() -> RoleModel:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


MODEL = _compiled()
