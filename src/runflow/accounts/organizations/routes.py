"""Organizations, their members, and who the caller is, over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.responses import Response

from runflow import errors
from runflow.accounts.organizations import identity, members, service
from runflow.accounts.organizations.schemas import (
    CreateMember,
    CreateOrganization,
    Me,
    Member,
    NewOrganization,
    Organization,
    PatchMember,
    PatchOrganization,
)
from runflow.web.auth import Caller
from runflow.web.json_body import json_body, openapi_body
from runflow.web.lists import ListEnvelope, ListQuery, RecordQuery, list_query, record_query
from runflow.web.responses import json_response
from runflow.web.route_table import Access, Tag, any_of
from runflow.web.router import Router
from runflow.web.services import Services, services

TAG = Tag("Account", "Organizations, members, API keys and audit events.")
router = Router(TAG)

READ = any_of("organizations:read")
EDIT = any_of("organizations:edit")

Parts = Annotated[Services, Depends(services)]
OneQuery = Annotated[RecordQuery, Depends(record_query)]
PageQuery = Annotated[ListQuery, Depends(list_query)]


@router.get("/v1/auth/me", access=Access.ANY_KEY, response_model=Me, summary="Who is calling")
async def me(caller: Caller, parts: Parts, query: OneQuery) -> Response:
    """Read who you are: the member whose key this is, or the key itself; its scopes and its organization.

    `embed` adds `memberships`, `organizations` and `pending_invitations`.
    """
    return json_response(await identity.me(parts, caller, query))


@router.get("/v1/organizations", access=READ, response_model=ListEnvelope[Organization], summary="List organizations")
async def list_organizations(caller: Caller, parts: Parts, query: PageQuery) -> Response:
    """List the organizations of this key: its own."""
    return json_response(await service.list_own(parts, caller, query))


@router.post(
    "/v1/organizations",
    access=any_of("organizations:create"),
    operator_only=True,
    errors=(errors.LimitReached,),
    shows_secret=True,
    status_code=201,
    response_model=NewOrganization,
    summary="Create an organization",
    openapi_extra=openapi_body(CreateOrganization),
)
async def create_organization(
    body: Annotated[CreateOrganization, Depends(json_body(CreateOrganization))], caller: Caller, parts: Parts
) -> Response:
    """Create an organization, apart from yours. The answer shows its first API key once.

    Only keys of the operator's organization can. That key holds the scopes of the one that creates it, but for
    `organizations:create`. Your own key sees nothing of the new organization.
    """
    return json_response(await service.create_for(parts, caller, body), 201)


@router.get(
    "/v1/organizations/{id}",
    access=READ,
    errors=(errors.OrganizationNotFound,),
    response_model=Organization,
    summary="Get an organization",
)
async def get_organization(id: UUID, caller: Caller, parts: Parts, query: OneQuery) -> Response:
    """Read your organization."""
    return json_response(await service.get(parts, caller, id, query))


@router.patch(
    "/v1/organizations/{id}",
    access=EDIT,
    errors=(errors.OrganizationNotFound,),
    response_model=Organization,
    summary="Change an organization",
    openapi_extra=openapi_body(PatchOrganization),
)
async def patch_organization(
    id: UUID,
    body: Annotated[PatchOrganization, Depends(json_body(PatchOrganization))],
    caller: Caller,
    parts: Parts,
) -> Response:
    """Rename your organization. Its slug is part of every address and stays."""
    return json_response(await service.change(parts, caller, id, body))


@router.get(
    "/v1/organizations/{organization_id}/members",
    access=READ,
    errors=(errors.OrganizationNotFound,),
    response_model=ListEnvelope[Member],
    summary="List members",
)
async def list_members(organization_id: UUID, caller: Caller, parts: Parts, query: PageQuery) -> Response:
    """List the members of your organization."""
    return json_response(await members.list_page(parts, caller, organization_id, query))


@router.post(
    "/v1/organizations/{organization_id}/members",
    access=EDIT,
    errors=(errors.OrganizationNotFound, errors.LimitReached),
    status_code=201,
    response_model=Member,
    summary="Add a member",
    openapi_extra=openapi_body(CreateMember),
)
async def add_member(
    organization_id: UUID,
    body: Annotated[CreateMember, Depends(json_body(CreateMember))],
    caller: Caller,
    parts: Parts,
) -> Response:
    """Add a person to your organization. API keys can belong to members; nothing is sent to the address."""
    return json_response(await members.add(parts, caller, organization_id, body), 201)


@router.get(
    "/v1/organizations/{organization_id}/members/{id}",
    access=READ,
    errors=(errors.OrganizationNotFound, errors.MemberNotFound),
    response_model=Member,
    summary="Get a member",
)
async def get_member(organization_id: UUID, id: UUID, caller: Caller, parts: Parts, query: OneQuery) -> Response:
    """Read one member of your organization."""
    return json_response(await members.get(parts, caller, organization_id, id, query))


@router.patch(
    "/v1/organizations/{organization_id}/members/{id}",
    access=EDIT,
    errors=(errors.OrganizationNotFound, errors.MemberNotFound, errors.Conflict),
    response_model=Member,
    summary="Change a member",
    openapi_extra=openapi_body(PatchMember),
)
async def patch_member(
    organization_id: UUID,
    id: UUID,
    body: Annotated[PatchMember, Depends(json_body(PatchMember))],
    caller: Caller,
    parts: Parts,
) -> Response:
    """Change a member's role or name. The last owner stays one (409)."""
    return json_response(await members.change(parts, caller, organization_id, id, body))


@router.delete(
    "/v1/organizations/{organization_id}/members/{id}",
    access=EDIT,
    errors=(errors.OrganizationNotFound, errors.MemberNotFound, errors.Conflict),
    status_code=204,
    summary="Remove a member",
)
async def remove_member(organization_id: UUID, id: UUID, caller: Caller, parts: Parts) -> Response:
    """Remove a member and revoke the API keys that belong to it. The last owner stays (409)."""
    await members.remove(parts, caller, organization_id, id)
    return Response(status_code=204)
