"""The mail's HTML, around the sentences of any language."""

# A mail program may darken one colour and not the other, so text never has a colour without a
# background of its own. Some drop <style> and then show the light colours; <body> becomes a <div>
# in others, hence the one inside it.
PAGE = """\
<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="format-detection" content="telephone=no,date=no,address=no,email=no">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{subject}</title>
<style>
:root {{ color-scheme: light dark; supported-color-schemes: light dark; }}
@media (prefers-color-scheme: dark) {{
.page {{ background-color: #1a1a1a !important; color: #f2f2f2 !important; }}
}}
</style>
</head>
<body class="page" style="margin:0;background-color:#ffffff;color:#1a1a1a">
<div class="page" style="padding:24px;font:16px/1.5 system-ui,sans-serif;\
overflow-wrap:break-word;background-color:#ffffff;color:#1a1a1a">
<p>{intro}</p>
<p style="font-size:28px;font-weight:700;letter-spacing:3px;margin:24px 0">\
{code}</p>
{tried}<p>{asked}</p>
<p>{lifetime}</p>
<p>{warning}</p>
</div>
</body>
</html>
"""
