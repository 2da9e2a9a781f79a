"""Pages of HTML in the one style of this project: a file that holds all it shows, and asks nothing of a network.

A template extends ``shell.html.j2``, which has the head, the style sheet and the foot; every value that it shows is
escaped.
"""

import jinja2


def render_page(package: str, template: str, **content: object) -> str:
    """Fill a template.

    Args:
        package: The package in whose folder ``templates`` it lies.
        template: Its name.
        **content: What it shows; a name that the template uses and that is not given is an error of ours.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("leadpp.engine")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
