"""The command line of djangobot 0.1, unmodified, with Slack's address taken from the environment."""
import os

from djangobot import cli, slack

slack.SlackAPI.url = os.environ["SLACK_API"] + "{method}"
cli.CLI.entry()
